// The table of claims: search, filters, sorting, folded grids, and another run's numbers beside ours.
(() => {
  const table = document.querySelector("table.claims"), form = document.querySelector("form.controls");
  if (!table) return;
  form.hidden = false;
  form.addEventListener("submit", event => event.preventDefault());
  const said = form.querySelector("output"), groups = [...table.tBodies];
  const rows = [...table.querySelectorAll("tr[data-verdict]")];
  const texts = new Map();
  const text = row => texts.get(row) ?? (texts.set(row, row.textContent.toLowerCase()), texts.get(row));
  const place = new Map(rows.map(row => [row, row.parentNode]));
  const option = (list, value, words) => list.append(new Option(words, value));
  for (const verdict of new Set(rows.map(row => row.dataset.verdict)))
    option(form.verdict, verdict, verdict.replaceAll("-", " "));
  for (const group of groups) option(form.page, group.dataset.page, group.querySelector("a").textContent);
  const opened = new Set(), all = document.createElement("tbody");
  const away = row => row.dataset.paper === undefined ? -1 : Math.abs(row.dataset.ours - row.dataset.paper);
  const keys = {
    verdict: row => row.dataset.verdict, difference: row => -away(row), ours: row => -row.dataset.ours,
    change: row => row.dataset.change === undefined ? 1 : -Math.abs(row.dataset.change),
  };
  const paint = () => {
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean), key = keys[form.sort.value];
    const narrowed = words.length || form.verdict.value || form.page.value || key;
    let shown = 0;
    for (const row of rows) {
      const group = place.get(row);
      const folded = !narrowed && group.dataset.many && !opened.has(group);
      const fits = words.every(word => text(row).includes(word))
        && (!form.verdict.value || row.dataset.verdict === form.verdict.value)
        && (!form.page.value || group.dataset.page === form.page.value);
      row.hidden = folded || !fits;
      shown += fits;
    }
    if (key) {
      const sorted = rows.map(row => [key(row), row]).sort((a, b) => a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0);
      all.append(...sorted.map(pair => pair[1]));
      table.append(all);
    } else if (all.isConnected) {
      for (const row of rows) place.get(row).append(row);
      all.remove();
    }
    for (const group of groups) {
      const own = rows.filter(row => place.get(row) === group);
      group.hidden = Boolean(key) || (narrowed && own.every(row => row.hidden));
      const button = group.querySelector("button");
      if (button) {
        button.hidden = Boolean(narrowed);
        button.textContent = opened.has(group) ? "fold" : `show its ${own.length} claims`;
        button.setAttribute("aria-expanded", String(opened.has(group)));
      }
    }
    said.textContent = narrowed ? `${shown} of ${rows.length} claims` : "";
  };
  for (const group of groups) if (group.dataset.many) {
    const button = document.createElement("button");
    button.type = "button";
    button.addEventListener("click", () => { opened.has(group) ? opened.delete(group) : opened.add(group); paint(); });
    group.rows[0].cells[0].append(" ", button);
  }
  form.addEventListener("input", paint);
  const follow = () => {
    const verdict = /^#verdict-(.+)/.exec(location.hash), target = document.querySelector(`tr[id="${location.hash.slice(1)}"]`);
    if (verdict) { form.verdict.value = verdict[1]; paint(); form.scrollIntoView(); }
    if (target) {
      if (target.hidden) { form.reset(); opened.add(place.get(target)); paint(); }
      target.scrollIntoView({ block: "center" });
    }
  };
  addEventListener("hashchange", follow);
  // another report's claims, id -> [ours, low, high, verdict], from the page or from a file
  const high = power => [...String(+power)].map(one => one === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[one]).join("");
  const large = value => value < 10 ? value.toFixed(3) : value < 1e4 ? String(+value.toPrecision(4)) : value.toExponential(2);
  const digits = value => value && value < 1e-3 ? value.toExponential(2) : value ? large(value) : "0";
  const short = value => (value < 0 ? "−" : "") + digits(Math.abs(value)).replace(/e(.*)/, (_, power) => "·10" + high(power));
  const numbers = table.tHead.rows[0].cells[3], own = form.dataset.name, known = JSON.parse(form.dataset.others);
  const apart = (row, other) => (row.dataset.ours < other[1] || row.dataset.ours > other[2])
    && (other[0] < row.dataset.low || other[0] > row.dataset.high);
  const beside = (name, others) => {
    table.querySelectorAll(".other").forEach(cell => cell.remove());
    numbers.textContent = others ? `ours A: ${own}` : "ours";
    table.classList.toggle("compared", Boolean(others));
    for (const group of groups) group.rows[0].cells[0].colSpan = others ? 8 : 6;
    for (const row of rows) delete row.dataset.change;
    said.textContent = "";
    if (!others) return paint();
    const cell = (row, tag, is, content, soft) => {
      const one = document.createElement(tag), below = document.createElement("span");
      one.className = "other n";
      one.dataset.is = is;
      one.textContent = content;
      below.className = "soft";
      below.textContent = soft ?? "";
      if (soft) one.append(below);
      if (tag === "th") one.scope = "col";
      // beside our own number
      row.insertBefore(one, row.cells[row.cells.length - 2]);
    };
    const titles = [`ours B: ${name}`, "difference B − A"];
    for (const title of titles) cell(table.tHead.rows[0], "th", title, title);
    let both = 0, different = 0;
    for (const row of rows) {
      const other = others[row.id.slice(6)], far = other && apart(row, other);
      if (other) { both += 1; different += far; row.dataset.change = other[0] - row.dataset.ours; }
      const range = other && other[1] !== other[2] ? `[${short(other[1])}, ${short(other[2])}] ` : "";
      cell(row, "td", titles[0], other ? short(other[0]) : "–", other && range + other[3]);
      cell(row, "td", titles[1], other ? short(row.dataset.change) + (far ? " *" : "") : "–");
    }
    paint();
    said.textContent = `${both} claims are made by both; ${different} of them (*) lie outside each other’s interval.`;
  };
  for (const name of Object.keys(known)) option(form.beside, name, name);
  form.beside.addEventListener("change", () => { form.other.value = ""; beside(form.beside.value, known[form.beside.value]); });
  form.other.addEventListener("change", async () => {
    const file = form.other.files[0];
    form.beside.value = "";
    if (!file) return beside("", null);
    try {
      const four = claim => [+claim.ours, +claim.low, +claim.high, claim.verdict];
      beside(file.name, Object.fromEntries(JSON.parse(await file.text()).map(claim => [claim.id, four(claim)])));
    } catch { beside("", null); said.textContent = "This file holds no claims; choose the data/claims.json of a report."; }
  });
  paint();
  follow();
})();
