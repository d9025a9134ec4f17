// The table of runs: filter, order, and two ticked runs side by side.
(() => {
  const PAIR = 2;

  function bind(section) {
    const table = section.querySelector("table"), body = table.tBodies[0], rows = [...body.rows];
    const field = section.querySelector("input[type=search]"), count = section.querySelector(".shown");
    const words = new Map();  // row -> its text, read when first asked for
    const textOf = (row) => words.get(row) ?? words.set(row, `${row.textContent} ${row.dataset.state}`.toLowerCase()).get(row);

    function filter() {
      const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let n = 0;
      for (const row of rows) {
        row.hidden = !wanted.every((word) => (word[0] === "-" && word.length > 1 ? !textOf(row).includes(word.slice(1)) : textOf(row).includes(word)));
        n += !row.hidden;
      }
      count.textContent = wanted.length ? `${n.toLocaleString("en")} of ${rows.length.toLocaleString("en")} runs` : "";
    }

    function order(head) {
      const down = head.getAttribute("aria-sort") === "ascending", column = head.cellIndex;
      table.querySelectorAll("th[aria-sort]").forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = new Map(rows.map((row) => [row, keyOf(row.cells[column])]));
      const compare = (a, b) => (typeof a === typeof b ? (a < b ? -1 : Number(a > b)) : typeof a === "number" ? -1 : 1);
      rows.sort((a, b) => (down ? -1 : 1) * compare(key.get(a), key.get(b)));
      body.append(...rows);
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

    if (field) field.addEventListener("input", filter);
    table.querySelectorAll("th button").forEach((b) => b.addEventListener("click", () => order(b.parentElement)));
    body.addEventListener("change", tick);
    button.addEventListener("click", () => bellmark.visit("compare", ...ticked().map((box) => box.value)));
    section.classList.add("ready");
  }

  bellmark.bindRuns = (root) => root.querySelectorAll(".runs-table").forEach(bind);
  bellmark.bindRuns(document);
})();
