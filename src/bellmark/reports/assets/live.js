// A live page: when the server says that records have changed, the parts that differ are exchanged, nothing else.
(() => {
  const base = document.body.dataset.live, lamp = document.getElementById("lamp");
  const { parts, original: known } = bellmark;
  const PAUSE = 3000;  // milliseconds between two looks at the server, at least
  let due = false, busy = false;

  function say(state, words) {
    lamp.dataset.state = state;
    lamp.lastElementChild.textContent = words;
  }

  // What the reader has set in a part is set again in the new one.
  function carry(before, after) {
    const open = [...before.querySelectorAll("details")].map((d) => d.open);
    after.querySelectorAll("details").forEach((d, i) => { d.open = open[i] ?? d.open; });
    before.querySelectorAll("input[id]").forEach((field) => {
      const twin = after.querySelector(`#${CSS.escape(field.id)}`);
      if (twin) { twin.value = field.value; twin.checked = field.checked; }
    });
    const ticked = new Set([...before.querySelectorAll("tbody input:checked")].map((box) => box.value));
    after.querySelectorAll("tbody input").forEach((box) => { box.checked = ticked.has(box.value); });
  }

  function exchange(fresh) {
    const focus = document.activeElement?.id;
    const now = parts(fresh), here = parts(document);
    if ([...now.keys()].join() !== [...known.keys()].join()) { location.reload(); return; }
    for (const [id, node] of now) {
      const text = node.outerHTML;
      if (text === known.get(id)) continue;
      known.set(id, text);
      const made = document.importNode(node, true), before = here.get(id);
      carry(before, made);
      bellmark.forget(before);
      before.replaceWith(made);
      bellmark.bindPanels(made);
      bellmark.bindRuns(made);
      made.querySelectorAll("input[type=search]").forEach((field) => { if (field.value) field.dispatchEvent(new Event("input")); });
    }
    if (focus && document.activeElement?.id !== focus) document.getElementById(focus)?.focus({ preventScroll: true });
  }

  async function refresh() {
    due = true;
    if (busy || document.hidden) return;
    busy = true;
    while (due) {
      due = false;
      try {
        const answer = await fetch(location.pathname + location.search, { headers: { accept: "text/html" } });
        if (answer.ok) exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
        await bellmark.refreshView();
      } catch {
        say("off", "not connected");
      }
      await new Promise((done) => { setTimeout(done, PAUSE); });
    }
    busy = false;
  }

  const events = new EventSource(`${base}events?page=${encodeURIComponent(document.body.dataset.page)}&since=${document.body.dataset.revision}`);
  events.onopen = () => say("on", "live");
  events.onerror = () => say("off", "not connected");
  events.onmessage = () => { say("on", "live"); refresh(); };
  document.addEventListener("visibilitychange", () => { if (!document.hidden && due) refresh(); });
  addEventListener("pagehide", () => events.close());
})();
