"use strict";
// Hover and arrow keys on the curves; the page is complete without it.
(() => {
  const SIZE = 1000;

  const shownLayer = (plot) => [...plot.querySelectorAll(".layer")].find((l) => getComputedStyle(l).display !== "none");

  function seedsOf(layer) {
    if (layer.seeds) return layer.seeds;
    const panel = layer.closest(".panel");
    const records = {};  // steps and values stand once, in the first layer
    panel.querySelectorAll(".seed[data-step]").forEach((group) => { records[group.dataset.run] = group.dataset; });
    layer.seeds = [...layer.querySelectorAll(".seed")].map((group) => {
      const record = records[group.dataset.run], role = group.classList.contains("arm") ? "arm" : "base";
      const points = group.querySelector(".line").getAttribute("d").slice(1).split("L").map((p) => p.split(" ").map(Number));
      return {
        group,
        role,
        label: `${panel.dataset[role]}, seed ${record.seed}`,
        points,
        steps: record.step.split(" ").map(Number),
        values: record.value.split(" ").map(Number),
      };
    }).filter((seed) => seed.points.length === seed.steps.length);
    return layer.seeds;
  }

  const nearest = (points, x) =>
    points.reduce((best, p, i) => (Math.abs(p[0] - x) < Math.abs(points[best][0] - x) ? i : best), 0);

  const share = document.body.dataset.share === "yes";
  const write = (v) => share ? `${(100 * v).toFixed(1)}%` : Number(v.toPrecision(4)).toLocaleString("en");

  function element(tag, className, text) {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
  }

  function fill(readout, rows) {
    const steps = new Set(rows.map((r) => r.step));
    const title = steps.size === 1 ? `step ${rows[0].step.toLocaleString("en")}` : "nearest evaluations";
    const shown = rows.slice(0, 14).map((r) => {
      const row = element("div", `row ${r.seed.role}${r.near ? " near" : ""}`, "");
      const at = steps.size === 1 ? "" : ` at ${r.step.toLocaleString("en")}`;
      row.append(element("span", "", r.seed.label + at), element("span", "", write(r.value)));
      return row;
    });
    readout.replaceChildren(element("b", "", title), ...shown);
    if (rows.length > 14) readout.append(element("div", "", `and ${rows.length - 14} more`));
  }

  function show(plot, x, y) {
    const layer = shownLayer(plot);
    const seeds = layer ? seedsOf(layer) : [];
    if (!seeds.length) return;
    const found = seeds.map((seed) => ({ seed, i: nearest(seed.points, x) }));
    const cost = ({ seed, i }) => Math.abs(seed.points[i][0] - x) * 3 + (y === null ? 0 : Math.abs(seed.points[i][1] - y));
    const closest = found.reduce((a, b) => (cost(b) < cost(a) ? b : a));
    const at = closest.seed.points[closest.i][0];
    const rows = found
      .filter(({ seed, i }) => Math.abs(seed.points[i][0] - at) < 60)
      .map(({ seed, i }) => ({ seed, step: seed.steps[i], value: seed.values[i], near: seed === closest.seed }))
      .sort((a, b) => b.value - a.value);
    seeds.forEach((seed) => seed.group.classList.toggle("near", seed === closest.seed));
    const cursor = plot.querySelector(".cursor"), readout = plot.querySelector(".readout"), area = plot.querySelector(".area");
    cursor.style.left = `${at / SIZE * 100}%`;
    cursor.hidden = readout.hidden = false;
    fill(readout, rows);
    const left = area.offsetLeft + at / SIZE * area.clientWidth;
    const room = plot.clientWidth - left - 16;
    readout.style.left = `${readout.offsetWidth <= room ? left + 14 : Math.max(0, left - 14 - readout.offsetWidth)}px`;
    plot.at = at;
  }

  function hide(plot) {
    plot.querySelectorAll(".near").forEach((n) => n.classList.remove("near"));
    plot.querySelectorAll(".cursor, .readout").forEach((n) => { n.hidden = true; });
  }

  function step(plot, direction) {
    const layer = shownLayer(plot);
    const places = layer ? [...new Set(seedsOf(layer).flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b) : [];
    if (!places.length) return;
    const here = plot.at ?? (direction > 0 ? -1 : SIZE + 1);
    const next = direction > 0 ? places.find((p) => p > here + 0.05) : places.filter((p) => p < here - 0.05).pop();
    show(plot, next ?? places[direction > 0 ? places.length - 1 : 0], null);
  }

  document.querySelectorAll(".plot").forEach((plot) => {
    const area = plot.querySelector(".area");
    plot.addEventListener("pointermove", (event) => {
      const box = area.getBoundingClientRect();
      show(plot, (event.clientX - box.left) / box.width * SIZE, (event.clientY - box.top) / box.height * SIZE);
    });
    plot.addEventListener("pointerleave", () => hide(plot));
    plot.addEventListener("blur", () => { hide(plot); plot.at = undefined; });
    plot.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide(plot);
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      event.preventDefault();
      step(plot, event.key === "ArrowRight" ? 1 : -1);
    });
  });

  document.querySelectorAll("input[name=axis]").forEach((input) => input.addEventListener("change", () => {
    document.querySelectorAll(".plot").forEach((plot) => { hide(plot); plot.at = undefined; });
  }));

  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
})();
