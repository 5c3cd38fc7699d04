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
  if (first.ok) return first;
  await new Promise((next) => setTimeout(next, ON_ITS_WAY_MS));
  return send({ ...copy, version: "" }, csrf);
}

globalThis.plumbline = { keep, drop, all, send, arrived, own, save: async () => true };

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
    list.querySelector("ul").append(line);
    list.hidden = false;
  }
}
