// The table of runs: filter, order, and two ticked runs side by side.
(() => {
  const PAIR = 2, FIRST = 100, MORE = 200;  // rows shown at first, and added at a press of the button

  function bind(section) {
    const table = section.querySelector("table"), body = table.tBodies[0], rows = [...body.rows];
    const field = section.querySelector("input[type=search]"), count = section.querySelector(".shown");
    const words = new Map();  // row -> its text, read when first asked for
    const textOf = (row) => words.get(row) ?? words.set(row, `${row.textContent} ${row.dataset.state}`.toLowerCase()).get(row);

    let fitting = rows, limit = FIRST;

    function show() {
      fitting.forEach((row, i) => { row.hidden = i >= limit; });
      rest.hidden = fitting.length <= limit;
      rest.textContent = `Show ${Math.min(MORE, fitting.length - limit)} of ${(fitting.length - limit).toLocaleString("en")} more`;
    }

    function filter() {
      const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const fits = (text) => wanted.every((word) => (word[0] === "-" && word.length > 1 ? !text.includes(word.slice(1)) : text.includes(word)));
      fitting = wanted.length ? rows.filter((row) => fits(textOf(row))) : rows;
      rows.forEach((row) => { row.hidden = true; });
      limit = FIRST;
      show();
      count.textContent = wanted.length ? `${fitting.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} runs` : "";
    }

    function order(head) {
      const down = head.getAttribute("aria-sort") === "ascending", column = head.cellIndex;
      table.querySelectorAll("th[aria-sort]").forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = new Map(rows.map((row) => [row, keyOf(row.cells[column])]));
      const compare = (a, b) => (typeof a === typeof b ? (a < b ? -1 : Number(a > b)) : typeof a === "number" ? -1 : 1);
      rows.sort((a, b) => (down ? -1 : 1) * compare(key.get(a), key.get(b)));
      body.append(...rows);
      filter();
    }

    function keyOf(cell) {
      const given = cell.dataset.key ?? cell.textContent.trim();
      return given !== "" && Number.isFinite(Number(given)) ? Number(given) : given.toLowerCase();
    }

    const ticked = () => rows.map((row) => row.querySelector("input:checked")).filter(Boolean);
    const button = section.querySelector("button.compare");
    function tick(event) {
      const boxes = ticked();
      if (boxes.length > PAIR) boxes.find((box) => box !== event.target).checked = false;
      button.disabled = ticked().length !== PAIR;
    }

    const rest = bellmark.element("button", { type: "button", click: () => { limit += MORE; show(); } });
    section.append(bellmark.element("div", { class: "tools" }, rest));
    field.addEventListener("input", filter);
    table.querySelectorAll("th button").forEach((b) => b.addEventListener("click", () => order(b.parentElement)));
    body.addEventListener("change", tick);
    button.addEventListener("click", () => bellmark.visit("compare", ...ticked().map((box) => box.value)));
    section.classList.add("ready");
    filter();
  }

  bellmark.bindRuns = (root) => root.querySelectorAll(".runs-table").forEach(bind);
  bellmark.bindRuns(document);
})();
