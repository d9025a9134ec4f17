"use strict";
// What the scripts of the page share: elements, numbers as written, packed data, drawing on canvas, drawing late.
const bellmark = (() => {
  const shown = new Map();  // element -> its drawing, once it came into sight
  const parts = (root) => new Map([...root.querySelectorAll("#page > header.top, #page > section")].map((node, i) => [node.id || `part-${i}`, node]));
  const original = new Map();  // what a live page was like before any script touched it: id of a part -> its HTML
  if (document.body.dataset.live !== undefined) parts(document).forEach((node, id) => original.set(id, node.outerHTML));

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes ?? {})) {
      if (typeof value === "function") made.addEventListener(key, value);
      else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== ""));
    return made;
  }

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Response(stream).json();
  }

  const minus = (text) => text.replace("-", "\u2212");
  const isShare = (metric) => metric.split("/").pop().startsWith("success");

  function write(value, share) {
    if (value === null || value === undefined || Number.isNaN(value)) return "\u2013";
    if (share) return minus(`${(100 * value).toFixed(1)}%`);
    const size = Math.abs(value);
    if (size && (size < 1e-3 || size >= 1e9)) return minus(value.toExponential(2));
    return minus(size >= 1e4 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4))));
  }

  const whole = (n) => Math.round(n).toLocaleString("en");

  function short(value) {
    for (const [size, mark] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(value) >= size) return minus(`${Number((value / size).toPrecision(3))}${mark}`);
    }
    const small = value && Math.abs(value) < 1e-3;
    return minus(small ? value.toExponential(0) : String(Number(value.toPrecision(3))));
  }

  // Where a value stands on an axis, 0 to 1: the same rule as Axis in scales.py.
  function place(scale, value) {
    const at = scale.log
      ? Math.log(Math.max(value, scale.low) / scale.low) / Math.log(scale.high / scale.low)
      : (value - scale.low) / (scale.high - scale.low);
    return Math.min(Math.max(at, 0), 1);
  }

  function ticks(low, high, most) {
    const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((s) => s * power).find((s) => s >= raw * (1 - 1e-9));
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k <= Math.floor(high / step + 1e-9); k += 1) found.push(k * step);
    return found;
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // A canvas as sharp as the screen, emptied; drawing is in CSS pixels.
  function sheet(canvas) {
    const dots = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * dots);
    canvas.height = Math.round(height * dots);
    const pen = canvas.getContext("2d");
    pen.scale(dots, dots);
    pen.lineJoin = "bevel";  // thin lines: several times faster than round, and not seen
    return { pen, width, height };
  }

  // One line through points in CSS pixels; a missing value breaks it.
  function trace(pen, points, style) {
    Object.assign(pen, { strokeStyle: style.colour, lineWidth: style.width, globalAlpha: style.alpha ?? 1 });
    pen.setLineDash(style.dash ?? []);
    pen.beginPath();
    let down = false;
    for (const [x, y] of points) {
      if (y === null) down = false;
      else if (down) pen.lineTo(x, y);
      else { pen.moveTo(x, y); down = true; }
    }
    pen.stroke();
    pen.setLineDash([]);
    if (style.dots) {
      pen.fillStyle = style.colour;
      for (const [x, y] of points) {
        if (y !== null) { pen.beginPath(); pen.arc(x, y, style.dots, 0, 7); pen.fill(); }
      }
    }
    pen.globalAlpha = 1;
  }

  // Calls `draw` when the element comes near the screen, and again when its size or the colours change.
  const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => shown.get(target)?.()));
  const sight = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    if (!isIntersecting || !target.draw) return;
    shown.set(target, target.draw);
    sight.unobserve(target);
    sizes.observe(target);  // reports the size at once, which draws
  }), { rootMargin: "400px" });

  function later(target, draw) {
    target.draw = draw;
    sight.observe(target);
  }

  function forget(root) {
    for (const target of [...shown.keys()].filter((t) => root.contains(t))) {
      sizes.unobserve(target);
      shown.delete(target);
    }
  }

  const redraw = () => shown.forEach((draw) => draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((d) => { d.open = true; });
    document.querySelectorAll(".plot").forEach((plot) => plot.draw?.());
  });

  return { element, unpack, write, whole, short, isShare, place, ticks, colour, sheet, trace, later, forget, redraw, parts, original };
})();
