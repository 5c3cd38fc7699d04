// Rating with a script: a digit rates. Saving, the lease and the other keys are desk.js's.

const form = document.getElementById("work");
const desk = form.closest(".desk");

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.repeat) return;
  if (desk.classList.contains("without-keys") || event.target.closest("textarea, select, input:not([type=radio], [type=checkbox])")) return;
  const box = /^[1-9]$/.test(event.key) && form.querySelector(`[name=rating][value="${event.key}"]`);
  if (!box) return;
  box.checked = true;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  event.preventDefault();
});
