// While one writes: how long the text is, and how it will be shown, a moment after the last key.
// The draft is desk.js's.

const AFTER_MS = 400;

export default function start() {
  const area = document.querySelector("textarea[data-shown]");
  const length = document.getElementById("length");
  const preview = document.getElementById("preview");
  const spoken = document.getElementById("spoken"); // says when it becomes too long, and not each count
  let timer = 0;
  let asked = 0;
  let last = area.defaultValue;

  async function show() {
    const text = area.value;
    const turn = ++asked;
    if (text === last) return;
    const body = new URLSearchParams({ text, csrf_token: area.form.elements.namedItem("csrf_token").value });
    const reply = await fetch(area.dataset.shown, { method: "POST", body }).catch(() => null);
    if (!reply?.ok || reply.redirected || turn !== asked) return; // a later answer is on its way, or saving says what is wrong
    const told = await reply.json();
    last = text;
    length.textContent = told.length;
    const over = told.over > 0;
    if (over !== length.classList.contains("over")) spoken.textContent = over ? told.length : "";
    length.classList.toggle("over", over);
    if (over) area.setAttribute("aria-invalid", "true");
    else area.removeAttribute("aria-invalid");
    preview?.replaceChildren(...new DOMParser().parseFromString(told.html, "text/html").body.childNodes);
  }

  area.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, AFTER_MS);
  });
  if (area.value !== last) show();
}
