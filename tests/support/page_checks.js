// What a page is checked for by the browser tests; an expression whose value has one function per question.
({
  // Elements that stick out to the right, where nothing scrolls for them.
  wider: () => [...document.querySelectorAll("body *")]
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && e.checkVisibility() && !e.closest(".scroll, pre, .readout, .skip"))
    .map((e) => e.outerHTML.slice(0, 90)),

  // Texts whose contrast with what lies behind them is too low: WCAG 2.1, 1.4.3, 4.5, or 3 for large text.
  faint: () => {
    const parse = (c) => c.match(/[\d.]+/g).map(Number);
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const behind = (e) => {
      for (let n = e; n; n = n.parentElement) {
        const c = parse(getComputedStyle(n).backgroundColor);
        if (c.length < 4 || c[3] > 0.9) return c;
      }
      return [255, 255, 255];
    };
    const found = new Map();
    for (const e of document.querySelectorAll("body *")) {
      const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
      if (!own || !e.checkVisibility() || e.closest(".unseen, :disabled, .skip")) continue;
      const style = getComputedStyle(e), size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
      const [a, b] = [light(parse(style.color)), light(behind(e))].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
      const least = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
      if (ratio < least) found.set(`${e.tagName}.${e.className}`, `${ratio.toFixed(2)} ${e.textContent.slice(0, 30)}`);
    }
    return [...found].map(([k, v]) => `${k}: ${v}`);
  },

  // What can be reached by keyboard, or is a picture, and has no name.
  nameless: () => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0'], img, video")]
    .filter((e) => e.checkVisibility() && !(e.getAttribute("aria-label") || e.alt || e.textContent.trim() || e.labels?.length))
    .map((e) => e.outerHTML.slice(0, 90)),

  // The levels of the headings, in order.
  levels: () => [...document.querySelectorAll("h1, h2, h3")].filter((h) => h.checkVisibility()).map((h) => Number(h.tagName[1])),

  // Ids that are given twice.
  twice: () => {
    const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
    return ids.filter((id, i) => ids.indexOf(id) !== i);
  },

  // Where the focus is: [distance from the top, whether it can be seen, the element]; null at the page's ends.
  focus: () => {
    const e = document.activeElement;
    if (e === document.body || e.className === "skip") return null;
    const seen = getComputedStyle(e).outlineStyle !== "none" || e.type === "radio";  // a radio's label has the outline
    return [e.getBoundingClientRect().top + scrollY, seen, e.outerHTML.slice(0, 80)];
  },

  // How many places the Tab key should stop at.
  reachable: () => [...document.querySelectorAll("a[href], button:enabled, input, summary, [tabindex='0']")]
    .filter((e) => e.checkVisibility() && !e.matches(".skip, input[type=radio]:not(:checked)")).length,
})
