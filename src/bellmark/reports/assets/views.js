// The views behind the page: one run, two runs side by side. The address says which: #/run/NAME, #/compare/NAME/NAME.
(() => {
  const { element, unpack, write, whole, isShare } = bellmark;
  const base = document.body.dataset.live;  // undefined in a file: then the runs stand in the page itself
  const page = document.getElementById("page"), view = document.getElementById("view"), title = document.title;
  const MOST_EVALUATIONS = 200;
  let back = null, shownAt = "", charts = null;

  const address = (kind, ...names) => `#/${[kind, ...names].map(encodeURIComponent).join("/")}`;
  bellmark.visit = (...parts) => { location.hash = address(...parts); };

  async function documentOf(name) {
    if (base === undefined) {
      const holder = [...document.querySelectorAll("script.run")].find((s) => s.dataset.run === name);
      return holder ? unpack(holder.textContent) : null;
    }
    const answer = await fetch(`${base}data/run?name=${encodeURIComponent(name)}`);
    return answer.ok ? answer.json() : null;
  }

  function table(head, rows, options = {}) {
    const cell = (text, i) => (text instanceof Node && text.nodeName === "TD" ? text : element(i === 0 && options.heads !== false ? "th" : "td", i === 0 && options.heads !== false ? { scope: "row" } : { class: options.numbers ? "n" : null }, text));
    return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": options.label ?? head.join(", ") }, element("table", { class: options.class ?? null },
      element("thead", {}, element("tr", {}, head.map((text, i) => element("th", { scope: "col", class: i && options.numbers ? "n" : null }, text)))),
      element("tbody", {}, rows.map((row) => element("tr", {}, row.map(cell))))));
  }

  const section = (id, name, ...children) => element("section", { id }, element("h2", {}, name), ...children);
  const link = (name) => element("a", { href: address("run", name) }, name);

  function head(kind, name, ...more) {
    return element("header", { class: "top" },
      element("p", { class: "eyebrow" }, element("a", { href: "#", class: "back" }, "\u2190 Back"), element("span", {}, ` \u00b7 ${kind}`)),
      element("h1", { tabindex: "-1" }, name), ...more);
  }

  const stateOf = (doc) => element("span", { class: `state s-${doc.state}` }, `${doc.sign} ${doc.word}`,
    element("span", { class: "quiet" }, ` at step ${whole(doc.step)} of ${whole(doc.total)}`), doc.reason ? element("span", { class: "quiet" }, `: ${doc.reason}`) : "");

  function health(doc) {
    if (!doc.findings.length) return null;
    const marks = { critical: "\u25a0", warning: "\u25b2", info: "\u2022" }, words = { info: "note" }, total = Math.max(doc.total, doc.step, 1);
    const strip = element("div", { class: "strip wide", "aria-hidden": "true" }, doc.findings.map((f) => element("i", {
      class: `sev-${f.severity}`, style: `left:${(100 * (f.step ?? doc.step) / total).toFixed(2)}%`, title: f.sentence }, marks[f.severity])));
    return section("view-health", "Health", strip, element("ul", { class: "findings" }, doc.findings.map((f) => element("li", {},
      element("b", { class: `sev-${f.severity}` }, `${marks[f.severity]} ${words[f.severity] ?? f.severity}`), ` ${f.sentence} ${f.advice} `,
      element("span", { class: "quiet" }, `${f.id}${f.step === null ? "" : `, step ${whole(f.step)}`}`)))));
  }

  function films(doc) {
    if (!doc.videos.length) return null;
    const source = (v) => v.source.replace("{base}", base);
    return section("view-videos", "Videos", element("div", { class: "films" }, doc.videos.map((v) => element("figure", {},
      !v.source ? element("p", { class: "quiet" }, "Too large for this file: ", element("code", {}, v.path))
        : v.kind.startsWith("image/") ? element("img", { src: source(v), alt: `Film ${v.name} of ${doc.name}`, loading: "lazy" })
          : element("video", { src: source(v), controls: true, loop: true, muted: true, playsinline: true, preload: "metadata", "aria-label": `Film ${v.name} of ${doc.name}` }),
      element("figcaption", {}, v.name)))));
  }

  function metrics(documents) {
    const field = element("input", { type: "search", id: "metric-search", placeholder: "Search metrics", "aria-label": "Search metrics", autocomplete: "off", spellcheck: "false" });
    const told = element("span", { class: "quiet shown", role: "status" });
    const reset = element("button", { type: "button", hidden: true, click: () => charts.zoom(null) }, "Whole range");
    const smooth = element("select", { id: "smoothing", change: () => charts.smooth(Number(smooth.value)) },
      [["none", 0], ["light", 0.6], ["medium", 0.9], ["strong", 0.98]].map(([name, weight]) => element("option", { value: weight }, name)));
    charts = new bellmark.Charts(documents, () => { reset.hidden = !charts.zoomed; });
    const nothing = element("p", { class: "quiet", hidden: true }, "No metric has such a name.");
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      charts.charts.forEach(({ name, figure }) => { figure.hidden = !words.every((w) => name.toLowerCase().includes(w)); });
      const n = charts.charts.filter(({ figure }) => !figure.hidden).length;
      told.textContent = words.length ? `${n} of ${charts.charts.length}` : "";
      nothing.hidden = n > 0;
    });
    return section("view-metrics", "Metrics",
      element("div", { class: "tools" }, field, told, element("label", { for: "smoothing" }, "Smoothing ", smooth), reset),
      element("p", { class: "quiet" }, "Over real environment steps. Drag across a chart to look closer, double-click for the whole range.", charts.findings.length ? " Dashed uprights stand where a finding first held." : ""),
      charts.charts.length ? element("div", { class: "charts" }, charts.charts.map((c) => c.figure)) : element("p", { class: "quiet" }, "No metric yet."), nothing);
  }

  // The metrics that were logged together with the first evaluation metric: one row per evaluation.
  function evaluations(doc) {
    const judged = doc.curves.metrics.filter(([name]) => name.startsWith("eval/"));
    if (!judged.length) return null;
    const at = judged[0][1], same = judged.filter(([, index]) => index === at), steps = doc.curves.steps[at];
    const keep = steps.map((_, i) => i).filter((i) => steps.length <= MOST_EVALUATIONS || i % Math.ceil(steps.length / MOST_EVALUATIONS) === 0 || i === steps.length - 1);
    const rows = keep.map((i) => [whole(steps[i]), ...same.map(([name, , values]) => write(values[i], isShare(name)))]);
    const body = table(["Step", ...same.map(([name]) => name)], rows, { numbers: true, label: "Evaluations" });
    return section("view-evaluations", "Evaluations", rows.length > 12 ? element("details", {}, element("summary", {}, `${rows.length} evaluations`), body) : body);
  }

  function listed(name, rows) {
    const list = element("dl", { class: "shared" }, rows.map(([key, value]) => element("div", { "data-text": `${key} ${value}`.toLowerCase() }, element("dt", {}, element("code", {}, key)), element("dd", {}, value))));
    const field = element("input", { type: "search", placeholder: `Search ${name}`, "aria-label": `Search ${name}`, autocomplete: "off", spellcheck: "false",
      input: () => { [...list.children].forEach((row) => { row.hidden = !row.dataset.text.includes(field.value.toLowerCase()); }); } });
    return [element("div", { class: "tools" }, field), list];
  }

  function runView(doc) {
    document.title = `${doc.name} \u00b7 Bellmark`;
    const facts = element("dl", { class: "shared facts" }, doc.facts.map(([key, value]) => element("div", {}, element("dt", {}, key), element("dd", {}, value))));
    return [head("Run", doc.name, stateOf(doc)),
      doc.problems.length ? element("ul", { class: "problems" }, doc.problems.map((p) => element("li", {}, p))) : null,
      health(doc), films(doc), metrics([{ role: "arm", document: doc }]), evaluations(doc),
      section("view-settings", "Settings", ...listed("settings", doc.config)),
      section("view-facts", "Origin", facts, element("div", { class: "command" }, element("span", {}, "repeats this run"), element("pre", { tabindex: "0" }, element("code", {}, doc.command)))),
      doc.checkpoints.length ? section("view-checkpoints", "Checkpoints", table(["File", "Step", "Metric", "MB"],
        doc.checkpoints.map(([name, step, metric, bytes]) => [name, whole(step), write(metric), (bytes / 1e6).toFixed(2)]), { numbers: true })) : null,
      doc.log ? section("view-log", "Log", element("pre", { class: "log", tabindex: "0" }, doc.log)) : null];
  }

  function differences(head, left, right) {
    const there = new Map(right), here = new Map(left);
    const every = [...new Set([...here.keys(), ...there.keys()])], roots = every.map((key) => key.split(".")[0]);
    const keys = every.filter((key) => here.get(key) !== there.get(key)).sort((a, b) => roots.indexOf(a.split(".")[0]) - roots.indexOf(b.split(".")[0]));
    return keys.length ? table(head, keys.map((key) => [element("code", {}, key), here.get(key) ?? "\u2013", there.get(key) ?? "\u2013"]), { class: "settings" }) : null;
  }

  function last(doc, name) {
    const found = doc.curves.metrics.find(([n]) => n === name);
    return found ? found[2].at(-1) : null;
  }

  function compareView(a, b) {
    document.title = `${a.name} and ${b.name} \u00b7 Bellmark`;
    const names = [...new Set([...a.curves.metrics, ...b.curves.metrics].map(([n]) => n))].filter((n) => n.startsWith("eval/")).sort();
    const rows = names.map((n) => {
      const [x, y] = [last(a, n), last(b, n)];
      const sign = x > y ? "+" : "";
      const difference = x === null || y === null ? "\u2013" : sign + (isShare(n) ? write(x - y, true).replace("%", " pp") : write(x - y));
      return [n, write(x, isShare(n)), write(y, isShare(n)), difference];
    });
    const pair = element("ul", { class: "pair" }, [[a, "arm"], [b, "base"]].map(([doc, role]) => element("li", {}, element("i", { class: `swatch ${role}` }), link(doc.name), " ", stateOf(doc))));
    const config = differences(["Key", a.name, b.name], a.config, b.config);
    const origin = differences(["Fact", a.name, b.name], a.facts, b.facts);
    return [head("Two runs side by side", "Comparison", pair,
      element("p", { class: "quiet" }, "Two runs are an anecdote: what differs here may be no more than their seeds.")),
    section("view-differences", "Settings that differ", config ?? element("p", { class: "quiet" }, "None: the two have the same configuration.")),
    rows.length ? section("view-last", "Last evaluation", table(["Metric", a.name, b.name, "Difference"], rows, { numbers: true })) : null,
    metrics([{ role: "base", document: b }, { role: "arm", document: a }]),
    section("view-origin", "Origin that differs", origin ?? element("p", { class: "quiet" }, "Nothing."))];
  }

  async function content(kind, names) {
    const found = await Promise.all(names.map(documentOf));
    const missing = names.filter((_, i) => !found[i]);
    if (missing.length) return [head("Run", "Not here"), element("p", {}, `There is no record of ${missing.join(" and ")} in this page${base === undefined ? "; it was written before the run, or the run has not started." : "."}`)];
    if (kind === "compare" && found.length === 2) return compareView(...found);
    return runView(found[0]);
  }

  async function route(again = false) {
    const parts = location.hash.startsWith("#/") ? location.hash.slice(2).split("/").map(decodeURIComponent) : null;
    const wanted = parts && ["run", "compare"].includes(parts[0]) && parts.length > 1 ? location.hash : "";
    if (wanted === shownAt && !again) return;
    if (!wanted) return leave();
    const filled = (await content(parts[0], parts.slice(1))).filter(Boolean);
    if (!shownAt) back = { top: scrollY, focus: document.activeElement };
    const kept = again ? { top: scrollY, search: document.getElementById("metric-search")?.value } : null;
    bellmark.forget(view);
    view.replaceChildren(...filled);
    page.hidden = true;
    view.hidden = false;
    shownAt = wanted;
    if (!kept) { scrollTo(0, 0); view.querySelector("h1").focus({ preventScroll: true }); return; }
    const field = document.getElementById("metric-search");
    if (kept.search && field) { field.value = kept.search; field.dispatchEvent(new Event("input")); }
    scrollTo(0, kept.top);
  }

  function leave() {
    if (!shownAt) return;
    shownAt = "";
    charts = null;
    bellmark.forget(view);
    view.replaceChildren();
    view.hidden = true;
    page.hidden = false;
    document.title = title;
    scrollTo(0, back?.top ?? 0);
    back?.focus?.focus?.({ preventScroll: true });
    bellmark.redraw();
  }

  view.addEventListener("click", (event) => {
    if (!event.target.closest("a.back")) return;
    event.preventDefault();
    if (back) history.back(); else location.hash = "";
  });
  page.addEventListener("click", (event) => {
    const seed = event.target.closest(".seeds [data-run]");
    if (seed) bellmark.visit("run", seed.dataset.run);
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape" && shownAt && !event.defaultPrevented) { if (back) history.back(); else location.hash = ""; } });
  addEventListener("hashchange", () => route());
  bellmark.refreshView = () => (shownAt ? route(true) : undefined);
  bellmark.viewing = () => shownAt;
  route();
})();
