// The table of claims: search, filters, sorting, folded grids, and another run's numbers beside ours.
(() => {
  const table = document.querySelector("table.claims"), form = document.querySelector("form.controls");
  if (!table) return;
  form.hidden = false;
  form.addEventListener("submit", event => event.preventDefault());
  const said = form.querySelector("output"), groups = [...table.tBodies];
  const rows = [...table.querySelectorAll("tr[data-verdict]")];
  const text = new Map(rows.map(row => [row, row.textContent.toLowerCase()]));
  const place = new Map(rows.map(row => [row, row.parentNode]));
  const option = (list, value, words) => list.append(new Option(words, value));
  for (const verdict of new Set(rows.map(row => row.dataset.verdict)))
    option(form.verdict, verdict, verdict.replaceAll("-", " "));
  for (const group of groups) option(form.page, group.dataset.page, group.querySelector("a").textContent);
  const opened = new Set(), all = document.createElement("tbody");
  const apart = row => row.dataset.paper === undefined ? -1 : Math.abs(row.dataset.ours - row.dataset.paper);
  const keys = {
    verdict: row => row.dataset.verdict, difference: row => -apart(row), ours: row => -row.dataset.ours,
  };
  const paint = () => {
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean), key = keys[form.sort.value];
    const narrowed = words.length || form.verdict.value || form.page.value || key;
    let shown = 0;
    for (const row of rows) {
      const group = place.get(row);
      const folded = !narrowed && group.dataset.many && !opened.has(group);
      const fits = words.every(word => text.get(row).includes(word))
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
  form.other.addEventListener("change", async () => {
    table.querySelectorAll(".other").forEach(cell => cell.remove());
    for (const group of groups) group.rows[0].cells[0].colSpan = 6;
    const file = form.other.files[0];
    if (!file) return;
    let claims;
    try { claims = new Map(JSON.parse(await file.text()).map(claim => [claim.id, claim])); }
    catch { said.textContent = "This file holds no claims; choose the data/claims.json of a report."; return; }
    const cell = (row, tag, content, is) => {
      const one = document.createElement(tag);
      one.className = "other n";
      one.dataset.is = is;
      one.textContent = content;
      row.insertBefore(one, row.lastElementChild);
    };
    const short = value => Number(value).toPrecision(3).replace("-", "−");
    for (const [words, at] of [["other run", 0], ["difference", 1]]) cell(table.tHead.rows[0], "th", words, words);
    for (const row of rows) {
      const claim = claims.get(row.id.slice(6));
      cell(row, "td", claim ? `${short(claim.ours)} [${short(claim.low)}, ${short(claim.high)}]` : "–", "other run");
      cell(row, "td", claim ? short(claim.ours - row.dataset.ours) : "–", "difference");
    }
    for (const group of groups) group.rows[0].cells[0].colSpan = 8;
    said.textContent = `${rows.filter(row => claims.has(row.id.slice(6))).length} claims are also made in ${file.name}`;
  });
  paint();
  follow();
})();
