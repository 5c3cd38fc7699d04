// The desk with a script: saves while one works, keeps the lease, counts active time, and gives keys to the buttons.
// Everything here only presses the buttons and fills the fields that the page has without it.

const desk = document.querySelector(".desk");
const form = document.getElementById("work");
const saved = document.getElementById("saved");
const standing = document.getElementById("standing");
const say = desk.dataset;
const address = `/assignments/${say.assignment}`;
const SAVE_AFTER_MS = 1200;
const RETRY_AFTER_MS = 3000;
const IDLE_AFTER_MS = 60_000;

// --- Saving ---

const field = (name) => form.elements.namedItem(name);
const ABOUT = new Set(["", "csrf_token", "labeler", "version", "fence", "key", "active_seconds", "reason", "note"]);
const box = (one) => one.type === "radio" || one.type === "checkbox";
const fields = [...form.elements].filter((one) => !ABOUT.has(one.name) && one.type !== "submit");
const written = () => JSON.stringify(fields.map((one) => (box(one) ? one.checked : one.value)));
// What the server has. Not what stands there now: somebody may have written before this script came.
let kept = JSON.stringify(fields.map((one) => (box(one) ? one.defaultChecked : one.defaultValue)));
let saving = null; // the save under way
let timer = 0;
let stopped = false; // by a conflict, which the labeler decides

function save() {
  clearTimeout(timer);
  saving ??= post().finally(() => (saving = null));
  return saving;
}

async function post() {
  if (stopped) return false;
  const now = written();
  if (now === kept) return true;
  let reply;
  try {
    saved.textContent = say.saving;
    reply = await fetch(`${address}/draft`, { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } });
  } catch {
    saved.textContent = "";
    alert("warn", say.offline);
    later(RETRY_AFTER_MS);
    return false;
  }
  const told = reply.headers.get("content-type")?.startsWith("application/json") ? await reply.json() : {};
  saved.textContent = told.saved ?? "";
  if (reply.ok && told.version !== undefined) {
    field("version").value = told.version;
    kept = now;
    told.lost ? alert("warn", say.lost) : calm();
    if (written() !== kept) later();
    return true;
  }
  stopped = true;
  if (reply.status === 409) conflict(told);
  else if (told.sign_in) alert("warn", say.signedOut, link(told.sign_in, say.signIn));
  else alert("danger", reply.status === 403 && told.detail ? told.detail : say.refused);
  return false;
}

function later(ms = SAVE_AFTER_MS) {
  clearTimeout(timer);
  timer = setTimeout(save, ms);
}

form.addEventListener("input", () => later());
document.addEventListener("visibilitychange", () => document.hidden && save());
addEventListener("online", () => save());
if (written() !== kept) later();

let leaving = false; // the form is on its way: a second click does nothing
let safe = false; // everything written is with the server
form.addEventListener("submit", async (event) => {
  const last = event.submitter?.formAction.endsWith("/submit");
  if (!leaving && (safe || (!saving && !last))) return (leaving = true);
  event.preventDefault();
  if (leaving) return;
  leaving = true;
  safe = (await save()) && (await save()); // the second for what was typed during the first
  await new Promise((next) => setTimeout(next)); // a form cannot be submitted again within its own submit event
  leaving = false;
  if (safe) form.requestSubmit(event.submitter);
});
addEventListener("pageshow", () => (leaving = safe = false));

// --- Saying what happened ---

function alert(kind, text, ...more) {
  let box = document.getElementById("alert");
  if (!box) {
    box = document.createElement("div");
    box.id = "alert";
    box.setAttribute("role", "alert");
    standing.append(box);
  }
  box.className = `alert ${kind}`;
  const line = document.createElement("p");
  line.textContent = text;
  box.replaceChildren(line, ...more);
}

const calm = () => document.getElementById("alert")?.remove();

function link(url, text) {
  const made = document.createElement("a");
  made.href = url;
  made.textContent = text;
  return made;
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "small";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

function conflict({ detail, current }) {
  if (current?.version === undefined) return alert("warn", detail, link(address, say.theirs)); // handed in already
  const title = document.createElement("h3");
  title.textContent = say.elsewhere;
  const other = document.createElement("div");
  other.className = "raw";
  other.dir = "auto";
  other.textContent = current.content.text ?? lines(current.content).join("\n");
  const acts = document.createElement("div");
  acts.className = "row";
  const yours = button(say.yours, () => {
    field("version").value = current.version;
    stopped = false;
    save();
  });
  acts.append(yours, button(say.theirs, () => location.reload()));
  alert("warn", say.changed, title, other, acts);
}

function lines({ completions = {}, notes = "" }) {
  const one = ([letter, { rating, tier, flags }]) =>
    `${letter}: ${rating ?? "–"} / ${tier ?? "–"} ${Object.keys(flags).filter((flag) => flags[flag]).join(", ")}`;
  return [...Object.entries(completions).map(one), notes];
}

// --- The lease, and active time ---

let active = Date.now();
for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchstart"])
  addEventListener(kind, () => (active = Date.now()), { passive: true });

setInterval(() => {
  const counter = field("active_seconds");
  if (!document.hidden && Date.now() - active < IDLE_AFTER_MS) counter.value = Number(counter.value) + 1;
}, 1000);

setInterval(async () => {
  if (say.standing !== "held" || Date.now() - active > (say.leaseSeconds * 1000) / 2) return;
  const body = new URLSearchParams({ fence: say.fence, csrf_token: field("csrf_token").value });
  const reply = await fetch(`${address}/heartbeat`, { method: "POST", body }).catch(() => null);
  if (reply?.status === 409) alert("warn", say.lost);
}, (say.leaseSeconds * 1000) / 4);

// --- Keys ---

const keysOn = document.getElementById("keys-on");
keysOn.checked = localStorage.getItem("plumbline.keys") !== "off";
keysOn.closest("p").hidden = false;
const showKeys = () => {
  desk.classList.toggle("without-keys", !keysOn.checked);
  for (const help of desk.querySelectorAll(".keys-help")) help.hidden = !keysOn.checked;
};
keysOn.addEventListener("change", () => {
  localStorage.setItem("plumbline.keys", keysOn.checked ? "on" : "off");
  showKeys();
});
showKeys();

const primary = form.querySelector("button.primary");
const typing = (target) => target.closest("textarea, select, input:not([type=radio], [type=checkbox])");

function set(box, checked = true) {
  box.checked = checked;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
    if (event.key === "s") save();
    else if (event.key === "Enter") primary.click();
    else return;
    event.preventDefault();
  } else if (keysOn.checked && !event.altKey && !event.shiftKey && !event.repeat && !typing(event.target)) {
    if (key(event.key, event.target)) event.preventDefault();
  }
});

function key(name, target) {
  if (target.matches("[type=radio]") && name.startsWith("Arrow")) return false; // they choose within the group
  if (name === "Enter" && target.closest("button, a, summary")) return false;
  const named = form.querySelector(`[data-key="${CSS.escape(name)}"]`);
  if (!named) return false;
  if (named.type === "checkbox") set(named, !named.checked);
  else named.click();
  return true;
}
