// Cards are dragged to rows, with the mouse by the whole card, with a finger by its grip. On the upper or the lower edge
// of a row that holds others, a card gets a row of its own.

export function dragging(board, rows, { row, act, lift }, ended) {
  let drag = null;

  board.addEventListener("pointerdown", (event) => {
    const card = event.target.closest(".slip");
    if (!card || event.button !== 0 || (event.pointerType !== "mouse" && !event.target.closest(".grip"))) return;
    drag = { card, x: event.clientX, y: event.clientY, scroll: scrollY, lifted: false, id: event.pointerId };
  });

  function move(event) {
    if (!drag || event.pointerId !== drag.id) return;
    drag.now = event;
    if (!drag.lifted && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < 6) return;
    if (!drag.lifted) begin();
    hover();
  }

  function begin() {
    drag.lifted = true;
    drag.card.setPointerCapture(drag.id);
    drag.card.classList.add("lifted");
    document.documentElement.classList.add("dragging");
    lift(drag.card.dataset.letter);
    const held = drag;
    const scroll = () => {
      if (drag !== held) return;
      const by = held.now.clientY < 56 ? -9 : held.now.clientY > innerHeight - 56 ? 9 : 0;
      if (by) {
        scrollBy({ top: by, behavior: "instant" });
        hover();
      }
      requestAnimationFrame(scroll);
    };
    requestAnimationFrame(scroll);
  }

  function hover() {
    const { clientX, clientY } = drag.now;
    drag.card.style.transform = `translate(${clientX - drag.x}px, ${clientY - drag.y + scrollY - drag.scroll}px)`;
    const over = document.elementFromPoint(clientX, clientY)?.closest(".board > li") ?? null;
    const tier = Number(over?.dataset.tier);
    const box = over?.getBoundingClientRect();
    const others = tier ? row(tier).filter((one) => one !== drag.card.dataset.letter) : [];
    const height = others.length ? (clientY - box.top) / box.height : 0.5;
    drag.name = !over || over.dataset.tier === "0" ? "" : over.dataset.tier === "bad" ? "bad" : height < 0.2 ? "before" : height > 0.8 ? "after" : "send";
    drag.tier = tier;
    for (const one of rows) {
      one.classList.toggle("over", one === over && ["send", "bad"].includes(drag.name));
      for (const edge of ["before", "after"]) one.classList.toggle(edge, one === over && drag.name === edge);
    }
  }

  function drop(event) {
    if (!drag || event.pointerId !== drag.id) return;
    const { lifted, card, name, tier } = drag;
    drag = null;
    if (!lifted) return;
    card.classList.remove("lifted");
    card.style.transform = "";
    document.documentElement.classList.remove("dragging");
    for (const one of rows) one.classList.remove("over", "before", "after");
    if (event.type === "pointerup" && name) act(name, card.dataset.letter, tier);
  }

  for (const [kind, done] of [["pointermove", move], ["pointerup", drop], ["pointercancel", drop]])
    addEventListener(kind, done, { signal: ended });
}
