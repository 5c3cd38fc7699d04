// Ranking with a script: a letter marks a completion, a digit gives it a place. Saving and the lease are desk.js's.

const form = document.getElementById("work");
const desk = form.closest(".desk");
const cards = [...desk.querySelectorAll(".ranked")];
const order = document.getElementById("order");

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.repeat) return;
  if (desk.classList.contains("without-keys") || event.target.closest("textarea, select, input:not([type=radio], [type=checkbox])")) return;
  const card = cards.find((one) => one.dataset.letter === event.key.toUpperCase());
  if (/^[1-9]$/.test(event.key) ? place(event.key, event.target) : card && go(card)) event.preventDefault();
});

const placed = (card) => card.querySelector(":checked");

function go(card) {
  (placed(card) ?? card.querySelector("[type=radio]")).focus();
  card.scrollIntoView({ block: "nearest" });
  return true;
}

function place(number, target) {
  const card = target.closest(".ranked") ?? cards.find((one) => !placed(one));
  const box = card?.querySelector(`[value="${number}"]`);
  if (!box) return false;
  box.checked = true;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  const next = [...cards.slice(cards.indexOf(card)), ...cards].find((one) => !placed(one));
  return go(next ?? card);
}

function showOrder() {
  const tiers = new Map();
  for (const card of cards)
    if (placed(card)) tiers.set(placed(card).value, [...(tiers.get(placed(card).value) ?? []), card.dataset.letter]);
  const shown = [...tiers].sort(([a], [b]) => a - b).map(([tier, letters]) => {
    const one = document.createElement("span");
    one.className = "tier";
    one.textContent = `${tier}: ${letters.join(" = ")}`;
    return one;
  });
  order.replaceChildren(...(shown.length ? shown : [order.dataset.empty]));
}
showOrder();
form.addEventListener("input", showOrder);
