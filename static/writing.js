// While one writes: how long the text is, and how it will be shown, a moment after the last key. A prompt's draft is
// saved meanwhile; that of a completion is desk.js's.

const AFTER_MS = 400;

for (const area of document.querySelectorAll("textarea[data-shown]")) {
  const length = document.getElementById("length");
  const preview = document.getElementById("preview");
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
    length.classList.toggle("over", told.over > 0);
    if (told.over > 0) area.setAttribute("aria-invalid", "true");
    else area.removeAttribute("aria-invalid");
    preview?.replaceChildren(...new DOMParser().parseFromString(told.html, "text/html").body.childNodes);
  }

  area.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, AFTER_MS);
  });
  if (area.value !== last) show();
}

const piece = document.getElementById("piece");
if (piece) {
  const SAVE_AFTER_MS = 1200;
  const RETRY_AFTER_MS = 3000;
  const saved = document.getElementById("saved");
  const problem = document.getElementById("problem");
  const length = document.getElementById("length");
  // As it stands now, or as it came: somebody may have written before this script ran.
  const standing = (one) => [...one.options].find((option) => option.defaultSelected)?.value ?? one.options[0].value;
  const before = (one) => (one.options ? standing(one) : one.defaultValue);
  const fields = [...piece.querySelectorAll("textarea, select")];
  const values = (now = true) => JSON.stringify(fields.map((one) => (now ? one.value : before(one))));
  let kept = values(false);
  let timer = 0;
  let saving = null;
  let stopped = false; // by a draft that was changed elsewhere
  let leaving = false;

  const save = () => (saving ??= post().finally(() => (saving = null)));

  async function post() {
    clearTimeout(timer);
    const now = values();
    if (stopped || leaving || now === kept) return;
    const reply = await fetch(piece.dataset.save, {
      method: "POST",
      body: new FormData(piece),
      headers: { Accept: "application/json" },
      keepalive: now.length < 30_000,
    }).catch(() => null);
    if (!reply) {
      saved.textContent = piece.dataset.offline;
      timer = setTimeout(save, RETRY_AFTER_MS);
      return;
    }
    const told = reply.headers.get("content-type")?.startsWith("application/json") ? await reply.json() : {};
    if (!reply.ok || told.version === undefined) {
      stopped = reply.status !== 422; // a text that is too long can be shortened, and is saved then
      const line = Object.assign(document.createElement("p"), { className: `alert ${stopped ? "warn" : "danger"}`, textContent: told.detail ?? piece.dataset.offline });
      line.setAttribute("role", "alert");
      return problem.replaceChildren(line);
    }
    piece.elements.namedItem("version").value = told.version;
    kept = now;
    saved.textContent = told.saved;
    problem.querySelector(".danger")?.remove();
    if (length) {
      length.textContent = told.length;
      length.classList.toggle("over", told.over);
    }
    if (values() !== kept) timer = setTimeout(save, SAVE_AFTER_MS);
  }

  piece.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(save, SAVE_AFTER_MS);
  });
  if (values() !== kept) timer = setTimeout(save, SAVE_AFTER_MS);
  document.addEventListener("visibilitychange", () => document.hidden && save());
  addEventListener("pagehide", () => save());
  addEventListener("online", () => save());
  piece.addEventListener("submit", async (event) => {
    if (leaving) return;
    event.preventDefault();
    await saving; // else the form would send an older version than the server has by then
    await new Promise((next) => setTimeout(next)); // a form cannot be submitted again within its own submit event
    leaving = true;
    clearTimeout(timer);
    piece.requestSubmit(event.submitter);
  });
  addEventListener("pageshow", () => (leaving = false));
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    if (event.key === "s") save();
    else if (event.key === "Enter") piece.querySelector("button.primary").click();
    else return;
    event.preventDefault();
  });
}
