// The metrics of one run, or of two side by side: a chart each, drawn when it comes into sight; cursor and zoom are shared.
bellmark.Charts = (() => {
  const { element, write, short, isShare, ticks, colour, sheet, trace, later } = bellmark;
  const LEFT = 50, BOTTOM = 20, TOP = 8, RIGHT = 10, MOST_DOTS = 60;
  const SEVERITIES = { critical: "invalid", warning: "refuted", info: "faint" };  // the colour of each

  // Exponential mean that starts at the first value and passes over gaps.
  function smoothed(values, weight) {
    let mean = null;
    return values.map((v) => {
      if (v === null) return null;
      mean = mean === null ? v : weight * mean + (1 - weight) * v;
      return mean;
    });
  }

  const nearest = (steps, x) => {
    let low = 0, high = steps.length - 1;
    while (high - low > 1) { const mid = (low + high) >> 1; if (steps[mid] < x) low = mid; else high = mid; }
    return x - steps[low] < steps[high] - x ? low : high;
  };

  class Chart {
    constructor(owner, name, series) {
      Object.assign(this, { owner, name, series, share: isShare(name) });
      this.canvas = element("canvas", { "aria-hidden": "true" });
      this.mark = element("i", { class: "cursor", hidden: true });
      this.readout = element("output", { class: "now" });
      this.plot = element("div", {
        class: "plot metric", tabindex: "0", role: "img", "aria-label": this.words(),
        pointermove: (e) => this.move(e), pointerleave: () => owner.point(null), keydown: (e) => this.key(e),
        pointerdown: (e) => this.grab(e), pointerup: (e) => this.drop(e), dblclick: () => owner.zoom(null), blur: () => owner.point(null),
      }, this.canvas, this.mark);
      this.figure = element("figure", { class: "chart", "data-metric": name }, element("figcaption", {}, element("b", {}, name), this.readout), this.plot);
      this.settle();
      this.tell(null);
      later(this.plot, () => this.draw());
    }

    words() {
      return this.series.map(({ run, steps, values }) => {
        const known = values.filter((v) => v !== null);
        if (!known.length) return `${this.name} of ${run}: no finite value`;
        const ends = `from ${write(known[0], this.share)} to ${write(known.at(-1), this.share)}`;
        return `${this.name} of ${run}: ${ends} at step ${steps.at(-1)}, least ${write(Math.min(...known), this.share)}, most ${write(Math.max(...known), this.share)}`;
      }).join("; ") + ". Arrow keys step through it.";
    }

    settle() {
      const weight = this.owner.weight;
      this.series.forEach((s) => { s.smooth = weight ? smoothed(s.values, weight) : s.values; });
    }

    range() {
      const [from, to] = this.owner.span();
      let low = Infinity, high = -Infinity;
      for (const { steps, values } of this.series) {
        values.forEach((v, i) => { if (v !== null && steps[i] >= from && steps[i] <= to) { low = Math.min(low, v); high = Math.max(high, v); } });
      }
      if (low > high) return [0, 1];
      const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 0.5;
      return [low - room, high + room];
    }

    draw() {
      const { pen, width, height } = sheet(this.canvas);
      const [from, to] = this.owner.span(), [low, high] = this.range();
      const x = (s) => LEFT + (s - from) / (to - from) * (width - LEFT - RIGHT);
      const y = (v) => TOP + (1 - (v - low) / (high - low)) * (height - TOP - BOTTOM);
      this.x = x;
      Object.assign(pen, { font: "12px system-ui, sans-serif", fillStyle: colour("muted"), strokeStyle: colour("rule"), lineWidth: 1 });
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      for (const v of ticks(low, high, 4)) {
        pen.fillText(this.share ? `${Math.round(100 * v)}%` : short(v), LEFT - 8, y(v));
        pen.beginPath(); pen.moveTo(LEFT, y(v)); pen.lineTo(width - RIGHT, y(v)); pen.stroke();
      }
      pen.textBaseline = "alphabetic";
      for (const s of ticks(from, to, Math.max(2, Math.floor(width / 90)))) {
        pen.textAlign = x(s) > width - 24 ? "right" : "center";
        pen.fillText(short(s), Math.min(x(s), width - 2), height - 4);
      }
      pen.save();
      pen.beginPath(); pen.rect(LEFT - 2, 0, width - LEFT - RIGHT + 6, height - BOTTOM + 3); pen.clip();
      for (const { step, severity } of this.owner.findings) {
        trace(pen, [[x(step), TOP], [x(step), height - BOTTOM]], { colour: colour(SEVERITIES[severity]), width: 1, dash: [3, 3] });
      }
      for (const { role, steps, values, smooth } of this.series) {
        const paint = colour(role), line = (vs) => vs.map((v, i) => [x(steps[i]), v === null ? null : y(v)]);
        if (smooth !== values) trace(pen, line(values), { colour: paint, width: 1, alpha: 0.22 });
        trace(pen, line(smooth), { colour: paint, width: 1.6, dots: steps.length > MOST_DOTS ? 0 : 2 });
      }
      pen.restore();
      this.plot.dataset.drawn = "yes";
    }

    tell(step) {
      this.readout.replaceChildren(...this.series.map(({ role, steps, values }) => {
        const i = step === null ? values.length - 1 : nearest(steps, step);
        return element("span", { class: role }, write(values[i] ?? null, this.share));
      }));
      this.mark.hidden = step === null || !this.x;
      if (!this.mark.hidden) this.mark.style.left = `${this.x(step)}px`;
    }

    stepAt(event) {
      const [from, to] = this.owner.span(), box = this.canvas.getBoundingClientRect();
      return from + Math.min(Math.max((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT), 0), 1) * (to - from);
    }

    move(event) {
      const { steps } = this.series[0];
      this.owner.point(steps[nearest(steps, this.stepAt(event))]);
    }

    grab(event) {
      this.held = event.pointerType === "mouse" ? this.stepAt(event) : undefined;
    }

    drop(event) {
      const [from, to] = this.owner.span(), here = this.stepAt(event);
      if (this.held !== undefined && Math.abs(here - this.held) > (to - from) / 60) this.owner.zoom([this.held, here].sort((a, b) => a - b));
      this.held = undefined;
    }

    key(event) {
      if (event.key === "Escape" && this.owner.zoomed) { event.stopPropagation(); this.owner.zoom(null); }
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      event.preventDefault();
      const { steps } = this.series[0], forward = event.key === "ArrowRight";
      const here = this.owner.step === null ? (forward ? -1 : steps.length) : nearest(steps, this.owner.step);
      this.owner.point(steps[Math.min(Math.max(here + (forward ? 1 : -1), 0), steps.length - 1)]);
    }
  }

  // All charts of a view. `documents`: the runs' data, with a role ("arm", "base") for the colour of each.
  return class Charts {
    constructor(documents, changed) {
      this.weight = 0;
      this.step = null;
      this.changed = changed;
      this.findings = documents.length === 1 ? documents[0].document.findings.filter((f) => f.step !== null) : [];
      const named = new Map();
      documents.forEach(({ role, document: { name: run, curves } }) => curves.metrics.forEach(([name, at, values]) => {
        if (!named.has(name)) named.set(name, []);
        named.get(name).push({ run, role, steps: curves.steps[at], values });
      }));
      const ends = [...named.values()].flat().map((s) => s.steps.at(-1));
      this.whole = [0, Math.max(1, ...ends)];
      this.charts = [...named.keys()].sort(order).map((name) => new Chart(this, name, named.get(name)));
    }

    span() { return this.zoomed ?? this.whole; }

    zoom(range) {
      this.zoomed = range;
      this.redraw();
      this.changed?.();
    }

    smooth(weight) {
      this.weight = weight;
      this.charts.forEach((chart) => chart.settle());
      this.redraw();
    }

    redraw() { this.charts.forEach((chart) => { if (chart.plot.dataset.drawn && !chart.figure.hidden) chart.draw(); }); }

    point(step) {
      this.step = step;
      this.charts.forEach((chart) => { if (!chart.figure.hidden) chart.tell(step); });
    }
  };

  // What judges a run comes first, then what it trains on.
  function order(a, b) {
    const first = ["eval", "train", "value", "loss"], rank = (n) => (n === "eval/episodes" ? 8 : (first.indexOf(n.split("/")[0]) + 1) || 9);
    return rank(a) - rank(b) || (a < b ? -1 : 1);
  }
})();
