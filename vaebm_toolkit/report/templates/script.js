"use strict";
document.documentElement.classList.add("script");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// pictures: a click, Enter or Space enlarges; arrows go to the next one; Esc closes
const dialog = document.getElementById("zoom"), stage = dialog.querySelector(".shown"), words = dialog.querySelector("p");
let neighbours = [], current = null;
function show(element) {
  current = element;
  const copy = element.cloneNode(true);
  for (const name of ["tabindex", "role", "title"]) if (copy.tagName === "IMG") copy.removeAttribute(name);
  if (copy.tagName === "IMG") copy.className = element.naturalWidth > 200 ? (element.closest(".plane") ? "smooth ink" : "smooth") : "";
  stage.replaceChildren(copy);
  words.textContent = element.alt || element.getAttribute("aria-label");
  if (!dialog.open) dialog.showModal();
}
function enlargeable(elements, arrows) {
  elements.forEach((element, i) => {
    element.tabIndex = arrows && i ? -1 : 0;
    if (element.tagName === "IMG") element.setAttribute("role", "button");
    const open = () => { neighbours = elements; show(element); };
    element.addEventListener("click", open);
    element.addEventListener("keydown", e => {
      if (e.key === "Enter" || e.key === " ") { e.preventDefault(); open(); }
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      const next = arrows && step && elements[i + step];
      if (next) { e.preventDefault(); element.tabIndex = -1; next.tabIndex = 0; next.focus(); }
    });
  });
}
all(".tiles, .film").forEach(group => enlargeable(all(".tile img", group), true));
all(".planes").forEach(group => enlargeable(all("img", group), true));
all(".chart svg").forEach(svg => enlargeable([svg], false));
dialog.addEventListener("keydown", e => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
  const next = step && neighbours[neighbours.indexOf(current) + step];
  if (next) { e.preventDefault(); show(next); }
});
dialog.addEventListener("click", e => { if (e.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => { if (current) current.focus({ preventScroll: true }); });

// charts: the values below the pointer
const SVG = "http://www.w3.org/2000/svg";
all(".chart").forEach(figure => {
  const svg = figure.querySelector("svg"), out = document.createElement("p");
  out.className = "read";
  figure.append(out);
  const [left, right, bottom, top] = svg.dataset.plot.split(" ").map(Number);
  const [x0, x1, y0, y1] = svg.dataset.box.split(" ").map(Number);
  const lines = all(".line", svg).map(path => ({
    name: path.dataset.name, style: [...path.classList].find(c => /^s\d$/.test(c)),
    points: path.dataset.values ? path.dataset.values.split(" ").map(p => p.split(",").map(Number)) : [],
  })).filter(line => line.points.length);
  const marks = document.createElementNS(SVG, "g");
  svg.append(marks);
  const add = (tag, attributes) => {
    const element = document.createElementNS(SVG, tag);
    for (const [k, v] of Object.entries(attributes)) element.setAttribute(k, v);
    marks.append(element);
  };
  const clear = () => { marks.replaceChildren(); out.textContent = ""; };
  svg.addEventListener("pointerleave", clear);
  svg.addEventListener("pointermove", e => {
    clear();
    const at = new DOMPoint(e.clientX, e.clientY).matrixTransform(svg.getScreenCTM().inverse());
    if (at.x < x0 || at.x > x1 || !lines.length) return;
    const x = left + (at.x - x0) / (x1 - x0) * (right - left);
    const near = lines.map(line => line.points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
    const px = v => x0 + (v - left) / (right - left) * (x1 - x0);
    const py = v => y1 - ((svg.dataset.log ? Math.log10(v) : v) - bottom) / (top - bottom) * (y1 - y0);
    add("line", { class: "cross", x1: px(near[0][0]), x2: px(near[0][0]), y1: y0, y2: y1 });
    near.forEach((p, i) => add("circle", { class: "dot " + lines[i].style, cx: px(p[0]), cy: py(p[1]), r: 3.5 }));
    const text = near.map((p, i) => (lines.length > 1 ? lines[i].name + " " : "") + p[1]).join(", ");
    out.textContent = `${svg.dataset.x} ${near[0][0]}: ${text}`.replaceAll("-", "−");
  });
});

// commands: copied with a click
all(".command").forEach(pre => {
  if (!navigator.clipboard) return;
  const button = document.createElement("button");
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(pre.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  pre.append(button);
});

// contents: where the reader is
const links = new Map(all(".contents a").map(a => [document.getElementById(a.hash.slice(1)), a]));
const seen = new Set();
const watcher = new IntersectionObserver(entries => {
  entries.forEach(e => e.isIntersecting ? seen.add(e.target) : seen.delete(e.target));
  const first = [...links.keys()].find(section => seen.has(section));
  if (!first) return;
  links.forEach(a => a.removeAttribute("aria-current"));
  links.get(first).setAttribute("aria-current", "true");
}, { rootMargin: "-10% 0px -60% 0px" });
links.forEach((a, section) => section && watcher.observe(section));

// print: everything that is folded away
addEventListener("beforeprint", () => all("details").forEach(d => { d.open = true; }));
