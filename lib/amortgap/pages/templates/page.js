// Values of figures under the pointer and by arrow keys, legend entries that hide their series, buttons that copy.
(() => {
  const make = (tag, at) => Object.assign(document.createElement(tag), at);
  const tip = make("div", { className: "tip", hidden: true });
  tip.setAttribute("role", "status");
  document.body.append(tip);
  const NS = "http://www.w3.org/2000/svg";
  for (const svg of document.querySelectorAll("svg[data-points]")) {
    const points = JSON.parse(svg.dataset.points), ring = document.createElementNS(NS, "circle");
    if (!points.length) continue;
    const off = new Set();
    let at = -1;
    ring.setAttribute("class", "ring");
    ring.setAttribute("r", 6);
    ring.setAttribute("visibility", "hidden");
    svg.append(ring);
    svg.setAttribute("tabindex", "0");
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", svg.getAttribute("aria-label") + " Arrow keys read the values.");
    const hide = () => { tip.hidden = true; ring.setAttribute("visibility", "hidden"); };
    const show = i => {
      at = i;
      const [x, y, text] = points[i], box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
      ring.setAttribute("cx", x);
      ring.setAttribute("cy", y);
      ring.setAttribute("visibility", "visible");
      tip.textContent = text;
      tip.hidden = false;
      const left = box.left + x * box.width / view.width, top = box.top + y * box.height / view.height;
      tip.style.left = Math.max(4, Math.min(left + 10, innerWidth - tip.offsetWidth - 4)) + "px";
      tip.style.top = Math.max(4, top - tip.offsetHeight - 10) + "px";
    };
    svg.addEventListener("pointermove", event => {
      const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
      let best = -1, least = 18 * 18;
      points.forEach(([u, v, , , s], i) => {
        const d = (u - x) ** 2 + (v - y) ** 2;
        if (d < least && !off.has(s)) { best = i; least = d; }
      });
      best < 0 ? hide() : show(best);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (event.key === "Enter" && at >= 0 && points[at][3]) location.hash = points[at][3];
      if (!step || event.target !== svg) return;
      event.preventDefault();
      let next = at;
      do next = (next + step + points.length) % points.length; while (off.has(points[next][4]) && next !== at);
      show(next);
    });
    const entries = [...svg.querySelectorAll("[data-legend]")];
    const toggle = s => {
      const gone = !off.has(s);
      gone ? off.add(s) : off.delete(s);
      for (const part of svg.querySelectorAll(`[data-series="${s}"]`)) part.style.display = gone ? "none" : "";
      for (const part of svg.querySelectorAll(`[data-legend="${s}"]`)) {
        part.style.opacity = gone ? ".35" : "";
        part.setAttribute("aria-pressed", String(!gone));
      }
      hide();
    };
    // between the strokes of its letters, too
    const under = ({ clientX: x, clientY: y }) => entries.find(entry => {
      const box = entry.getBoundingClientRect();
      return x >= box.left - 2 && x <= box.right + 2 && y >= box.top - 2 && y <= box.bottom + 2;
    });
    svg.addEventListener("click", event => {
      const entry = event.target.closest("[data-legend]") ?? under(event);
      if (entry) toggle(+entry.dataset.legend);
      else if (at >= 0 && !tip.hidden && points[at][3]) location.hash = points[at][3];
    });
    for (const entry of entries) {
      entry.setAttribute("role", "button");
      entry.setAttribute("aria-pressed", "true");
      entry.setAttribute("aria-label", (entry.dataset.name || "series") + ": shown");
      if (entry.dataset.name) entry.setAttribute("tabindex", "0");
      entry.addEventListener("keydown", event => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        toggle(+entry.dataset.legend);
      });
    }
  }
  for (const code of document.querySelectorAll("[data-copy]")) {
    const button = make("button", { type: "button", className: "copy", textContent: "copy" });
    button.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(code.textContent); button.textContent = "copied"; }
      catch { getSelection().selectAllChildren(code); button.textContent = "selected"; }
      setTimeout(() => { button.textContent = "copy"; }, 2000);
    });
    code.after(button);
  }
  for (const menu of document.querySelectorAll("details.menu")) {
    document.addEventListener("click", event => { if (!menu.contains(event.target)) menu.open = false; });
    menu.addEventListener("keydown", event => { if (event.key === "Escape") menu.open = false; });
  }
  for (const box of document.querySelectorAll(".latents")) {
    const form = make("form", { className: "controls", ariaLabel: "Choose latents", innerHTML:
      '<label>Token or rule <input type="search" name="words" autocomplete="off"></label>'
      + '<label>Sort <select name="sort"><option value="score">by balanced accuracy</option>'
      + '<option value="density">by frequency</option><option value="latent">by number</option></select></label>'
      + '<output aria-live="polite"></output>' });
    const all = [...box.querySelectorAll(".latent")];
    const text = new Map(all.map(one => [one, one.textContent.toLowerCase()]));
    box.prepend(form);
    const paint = () => {
      const words = form.words.value.toLowerCase(), key = form.sort.value, way = key === "latent" ? 1 : -1;
      for (const one of all) one.hidden = !text.get(one).includes(words);
      box.append(...all.slice().sort((a, b) => way * (a.dataset[key] - b.dataset[key])));
      form.querySelector("output").textContent = `${all.filter(one => !one.hidden).length} of ${all.length} latents`;
    };
    form.addEventListener("submit", event => event.preventDefault());
    form.addEventListener("input", paint);
    paint();
  }
  const mark = () => document.querySelectorAll(".scroll, pre, math[display=block]").forEach(box => {
    const more = box.scrollWidth > box.clientWidth + 2;
    box.classList.toggle("more", more && box.matches(".scroll"));
    more ? box.setAttribute("tabindex", "0") : box.removeAttribute("tabindex");
  });
  mark();
  addEventListener("resize", mark);
  addEventListener("beforeprint", () => document.querySelectorAll("details.print").forEach(one => { one.open = true; }));
})();
