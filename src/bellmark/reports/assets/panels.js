// The small multiples: seeds painted from the page's data when a panel comes into sight, values on hover and arrow keys.
(() => {
  const { element, unpack, write, whole, place, colour, sheet, trace, later } = bellmark;
  const MOST_DOTS = 60, MOST_ROWS = 14, NEAR = 0.06;
  const share = document.body.dataset.share === "yes";
  const unpacked = new WeakMap();  // element with data -> promise of its lines; panels share the baseline's

  const scaleOf = (node) => ({ low: Number(node.dataset.low), high: Number(node.dataset.high), log: node.dataset.log === "yes" });

  function linesOf(id) {
    const holder = document.getElementById(id);
    if (!unpacked.has(holder)) unpacked.set(holder, unpack(holder.textContent));
    return unpacked.get(holder);
  }

  class Plot {
    constructor(node) {
      this.node = node;
      this.area = node.querySelector(".area");
      this.canvas = node.querySelector("canvas");
      this.cursor = node.querySelector(".cursor");
      this.readout = node.querySelector(".readout");
      this.names = node.closest(".panel").dataset;
      this.seeds = [];
      this.near = null;
      later(node, () => this.draw());
      node.addEventListener("pointermove", (event) => this.point(event));
      node.addEventListener("pointerleave", () => this.hide());
      node.addEventListener("blur", () => { this.hide(); this.at = undefined; });
      node.addEventListener("keydown", (event) => this.key(event));
      node.addEventListener("click", (event) => { if (event.pointerType !== "touch") this.open(); });
    }

    async load() {
      if (this.loaded) return;
      const roles = Object.entries({ base: this.names.baseLines, arm: this.names.armLines }).filter(([, id]) => id);
      const found = await Promise.all(roles.map(async ([role, id]) => (await linesOf(id)).map((line) => ({ ...line, role }))));
      this.seeds = found.flat();
      this.loaded = true;
    }

    layer() {
      return [...this.node.querySelectorAll(".layer")].find((l) => getComputedStyle(l).display !== "none");
    }

    // Shares of width and height of every point that is known on the axis shown.
    settle() {
      const layer = this.layer(), x = scaleOf(layer), y = scaleOf(this.node);
      const axis = layer.dataset.axis === "real" ? "step" : layer.dataset.axis;
      for (const seed of this.seeds) {
        const spent = seed[axis];
        seed.points = seed.value.flatMap((v, i) => (
          v === null || spent[i] === null ? [] : [{ at: place(x, spent[i]), up: place(y, v), step: seed.step[i], value: v }]
        ));
      }
    }

    async draw() {
      await this.load();
      this.settle();
      const { pen, width, height } = sheet(this.canvas);
      const dash = { done: [], failed: [5, 4], open: [1, 4] };
      const crowd = Math.min(Math.max(5 / this.seeds.length, 0.14), 0.5), paints = { arm: colour("arm"), base: colour("base") };
      for (const seed of this.seeds) {
        const near = seed === this.near, paint = paints[seed.role];
        trace(pen, seed.points.map((p) => [p.at * width, (1 - p.up) * height]), {
          colour: paint,
          width: near ? 2 : 1.1,
          alpha: near ? 1 : seed.state === "done" ? crowd : 0.9,
          dash: dash[seed.state],
          dots: seed.points.length > MOST_DOTS ? 0 : near ? 2.6 : 1.7,
        });
        const last = seed.points.at(-1);
        if (seed.state === "failed" && last) {
          pen.fillStyle = paint;
          pen.font = "700 13px sans-serif";
          pen.textAlign = "center";
          pen.fillText("\u2715", Math.min(Math.max(last.at * width, 6), width - 6), (1 - last.up) * height + 5);
        }
      }
      this.node.dataset.drawn = String(this.seeds.length);
    }

    point(event) {
      const box = this.area.getBoundingClientRect();
      this.show((event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height);
    }

    show(x, y) {
      const close = (seed) => seed.points.reduce((best, p) => (Math.abs(p.at - x) < Math.abs(best.at - x) ? p : best));
      const found = this.seeds.filter((s) => s.points?.length).map((seed) => ({ seed, point: close(seed) }));
      if (!found.length) return;
      const cost = ({ point }) => 3 * Math.abs(point.at - x) + (y === null ? 0 : Math.abs(point.up - y));
      const best = found.reduce((a, b) => (cost(b) < cost(a) ? b : a));
      const rows = found.filter(({ point }) => Math.abs(point.at - best.point.at) < NEAR).sort((a, b) => b.point.value - a.point.value);
      this.at = best.point.at;
      if (this.near !== best.seed) { this.near = best.seed; this.draw(); }
      this.fill(rows, best);
    }

    fill(rows, best) {
      const steps = new Set(rows.map(({ point }) => point.step));
      const from = Math.max(0, Math.min(rows.indexOf(best) - Math.floor(MOST_ROWS / 2), rows.length - MOST_ROWS));
      const shown = rows.slice(from, from + MOST_ROWS).map(({ seed, point }) => element("div", { class: `row ${seed.role}${seed === best.seed ? " near" : ""}` },
        element("span", {}, `${this.names[seed.role]}, seed ${seed.seed}${steps.size === 1 ? "" : ` at ${whole(point.step)}`}`),
        element("span", {}, write(point.value, share))));
      this.readout.replaceChildren(element("b", {}, steps.size === 1 ? `step ${whole(best.point.step)}` : "nearest evaluations"), ...shown);
      if (rows.length > shown.length) this.readout.append(element("div", {}, `and ${rows.length - shown.length} more`));
      this.cursor.style.left = `${this.at * 100}%`;
      this.cursor.hidden = this.readout.hidden = false;
      const left = this.area.offsetLeft + this.at * this.area.clientWidth;
      const room = this.node.clientWidth - left - 16, wide = this.readout.offsetWidth;
      this.readout.style.left = `${wide <= room ? left + 14 : Math.max(0, left - 14 - wide)}px`;
    }

    hide() {
      this.cursor.hidden = this.readout.hidden = true;
      if (this.near) { this.near = null; this.draw(); }
    }

    open() {
      if (this.near) bellmark.visit?.("run", this.near.run);
    }

    key(event) {
      if (event.key === "Escape") this.hide();
      if (event.key === "Enter") this.open();
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      event.preventDefault();
      const forward = event.key === "ArrowRight";
      const places = [...new Set(this.seeds.flatMap((s) => (s.points ?? []).map((p) => p.at)))].sort((a, b) => a - b);
      if (!places.length) return;
      const here = this.at ?? (forward ? -1 : 2);
      const next = forward ? places.find((p) => p > here + 1e-4) : places.filter((p) => p < here - 1e-4).pop();
      this.show(next ?? (forward ? places.at(-1) : places[0]), null);
    }
  }

  bellmark.bindPanels = (root) => {
    const plots = [...root.querySelectorAll(".panel .plot")].map((node) => new Plot(node));
    root.querySelectorAll("input[name=axis]").forEach((input) => input.addEventListener("change", () => {
      plots.forEach((plot) => { plot.hide(); plot.at = undefined; });
      bellmark.redraw();
    }));
  };
  bellmark.bindPanels(document);
})();
