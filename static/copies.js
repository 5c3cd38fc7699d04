// Words that have not reached the server are also kept in this browser, by account and assignment (or prompt that one
// writes), until it has them or one signs out. Those of other accounts are never looked at. Every page of a signed-in
// person runs this.

const PREFIX = `plumbline.words.${document.body.dataset.account}.`;
const ON_ITS_WAY_MS = 500;
const own = Math.random().toString(36).slice(2); // two tabs never write over each other

function keep(assignment, copy) {
  try {
    localStorage.setItem(`${PREFIX}${assignment}.${own}`, JSON.stringify({ ...copy, at: Date.now() }));
  } catch {
    // A full or forbidden storage: the server's draft remains.
  }
}

const place = ({ to, assignment }) => to ?? `/assignments/${assignment}`;
const drop = (assignment) => localStorage.removeItem(`${PREFIX}${assignment}.${own}`);

function all() {
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
  return keys.map((key) => ({ key, assignment: key.split(".")[3], ...JSON.parse(localStorage.getItem(key)) }));
}

function body(copy, csrf) {
  const made = new FormData();
  for (const [name, value] of copy.entries) made.append(name, value);
  const about = { csrf_token: csrf, labeler: document.body.dataset.account, version: copy.version, active_seconds: 0 };
  for (const name in about) made.append(name, about[name]);
  return made;
}

async function send(copy, csrf) {
  if (!copy.entries) return { ok: false }; // a note is sent by its own button alone
  const reply = await fetch(`${place(copy)}/draft`, {
    method: "POST",
    body: body(copy, csrf),
    headers: { Accept: "application/json" },
  }).catch(() => null);
  const told = reply?.headers.get("content-type")?.startsWith("application/json") ? await reply.json() : {};
  if (reply?.ok && told.version !== undefined) localStorage.removeItem(copy.key);
  return { ok: reply?.ok && told.version !== undefined, ...told };
}

// Whether the server has it after all: a page that is left sends its last words and hears no answer. Sent without a
// version they are recognised where they arrived, and overwrite nothing where they did not.
async function arrived(copy, csrf) {
  const first = await send({ ...copy, version: "" }, csrf);
  if (first.ok || !copy.entries) return first;
  await new Promise((next) => setTimeout(next, ON_ITS_WAY_MS));
  return send({ ...copy, version: "" }, csrf);
}

// --- Notes, which are in no draft (of a report, of a skip): here until they are sent ---

const notes = (place) => all().filter((one) => one.assignment === place);

const waits = (field) => field.closest("label").parentElement.querySelector(".waits");

function noted(field) {
  const place = field.dataset.note; // the address of its page, and which note it is
  if (field.value !== field.defaultValue) return plumbline.keep(place, { note: field.value, before: field.defaultValue, to: place });
  drop(place);
  waits(field)?.remove();
}
document.addEventListener("input", ({ target }) => target.dataset.note && noted(target));

// Half-written notes stand again where they were written, with a word of it.
function restore(spoken) {
  for (const { dataset } of document.querySelectorAll("[data-settled]"))
    for (const { key } of notes(dataset.settled)) localStorage.removeItem(key);
  for (const field of document.querySelectorAll("[data-note]")) {
    const found = notes(field.dataset.note);
    for (const { key } of found) localStorage.removeItem(key);
    const unsent = found.filter(({ note }) => note.trim() !== field.defaultValue.trim());
    noted(field); // somebody may have written before this script ran
    if (!unsent.length) continue;
    const changed = field.value !== field.defaultValue || unsent.some(({ before }) => before !== field.defaultValue);
    const texts = [...new Set([changed ? field.value : "", ...unsent.map(({ note }) => note)])];
    const whole = texts.filter((text) => !texts.some((other) => other !== text && other.includes(text)));
    field.value = whole.join(field.rows ? "\n\n" : " ");
    noted(field);
    const hint = Object.assign(document.createElement("p"), { className: "hint waits", textContent: field.dataset.waits });
    field.closest("label").after(hint);
    const details = field.closest("details");
    if (details) details.open = true;
    if (spoken) spoken.textContent = field.dataset.waits;
  }
}

// The server has it, so no tab need keep it.
function sent(field) {
  for (const { key, note } of notes(field.dataset.note)) if (field.value.includes(note)) localStorage.removeItem(key);
  waits(field)?.remove();
}

globalThis.plumbline = { keep, drop, all, send, arrived, own, restore, sent, save: async () => true };
restore(document.getElementById("spoken")); // said once, and not on each page that takes this one's place

// --- Signing out: first everything goes to the server, or one is asked ---

document.addEventListener(
  "submit",
  async (event) => {
    const form = event.target;
    if (form.getAttribute("action") !== "/sign-out" || form.dataset.sure) return;
    event.preventDefault();
    await plumbline.save();
    await new Promise((next) => setTimeout(next)); // a form cannot be submitted again within its own submit event
    for (const copy of all()) await send(copy, form.elements.csrf_token.value);
    if (!all().length || (await sure(form.dataset))) {
      for (const { key } of all()) localStorage.removeItem(key);
      plumbline.keep = () => {};
      form.dataset.sure = "yes";
      form.requestSubmit();
    }
  },
  { capture: true },
);

function sure({ unsent, stay, go }) {
  const dialog = document.createElement("dialog");
  const text = document.createElement("p");
  text.id = "unsent-text";
  text.textContent = unsent;
  dialog.setAttribute("aria-labelledby", text.id);
  const acts = document.createElement("form");
  acts.method = "dialog";
  acts.className = "row";
  for (const [value, words] of [["stay", stay], ["go", go]]) {
    const button = document.createElement("button");
    button.value = value;
    button.textContent = words;
    button.className = value === "stay" ? "primary" : "";
    acts.append(button);
  }
  dialog.append(text, acts);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((decided) =>
    dialog.addEventListener("close", () => {
      dialog.remove();
      decided(dialog.returnValue === "go");
    }),
  );
}

// --- The desk says where words wait ---

const list = document.getElementById("unsent");
if (list) {
  const csrf = document.querySelector("[name=csrf_token]").value;
  for (const copy of all()) {
    if ((await arrived(copy, csrf)).ok) continue;
    const link = document.createElement("a");
    link.href = place(copy);
    link.textContent = list.dataset.open.replace("{time}", new Date(copy.at).toLocaleTimeString([], { timeStyle: "short" }));
    const line = document.createElement("li");
    line.append(link);
    if (copy.note) {
      const words = Object.assign(document.createElement("span"), { className: "clip", dir: "auto", lang: "", textContent: copy.note });
      const go = Object.assign(document.createElement("button"), { className: "small", type: "button", textContent: list.dataset.drop });
      go.addEventListener("click", () => {
        localStorage.removeItem(copy.key);
        line.remove();
        list.hidden = !list.querySelector("li");
      });
      line.append(words, go);
    }
    list.querySelector("ul").append(line);
    list.hidden = false;
  }
}
