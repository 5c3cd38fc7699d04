// The draft of a prompt: saved while one writes, kept in this browser until the server has it, and never over another one.

import { both, choice, make } from "./sides.js";

const SAVE_AFTER_MS = 1200;
const COPY_AFTER_MS = 150;
const RETRY_AFTER_MS = 3000;

const piece = document.getElementById("piece");
const say = piece.dataset;
const saved = document.getElementById("saved");
const spoken = document.getElementById("spoken"); // what goes wrong is spoken once, and not each save
const problem = document.getElementById("problem");
const length = document.getElementById("length");
const version = piece.elements.namedItem("version");
const fields = [...piece.querySelectorAll("textarea, select")];
// As it stands now, or as it came: somebody may have written before this script ran.
const standing = (one) => [...one.options].find((option) => option.defaultSelected)?.value ?? one.options[0].value;
const before = (one) => (one.options ? standing(one) : one.defaultValue);
const entries = (now = true) => fields.map((one) => [one.name, now ? one.value : before(one)]);
const values = () => JSON.stringify(entries());
const read = (list) => list.filter(([name, value]) => name !== "use_case" && value).map(([, value]) => value).join("\n\n");
let kept = JSON.stringify(entries(false));
let timer = 0;
let copying = 0;
let saving = null;
let stopped = false; // by a draft that was changed elsewhere, or the end of the session
let leaving = false;

const save = () => (saving ??= post().finally(() => (saving = null)));
plumbline.save = save; // before one signs out

function copy() {
  clearTimeout(copying);
  if (values() !== kept) plumbline.keep(say.piece, { entries: entries(), to: say.at });
}

async function post() {
  timer = clearTimeout(timer);
  const now = values();
  if (leaving || now === kept) return true;
  if (stopped) return false;
  copy();
  const reply = await fetch(`${say.at}/draft`, {
    method: "POST",
    body: new FormData(piece),
    headers: { Accept: "application/json" },
    keepalive: now.length < 30_000,
  }).catch(() => null);
  if (!reply) {
    saved.textContent = spoken.textContent = say.offline;
    timer = setTimeout(save, RETRY_AFTER_MS);
    return false;
  }
  if (reply.redirected) {
    stopped = true;
    spoken.textContent = say.signedOut;
    saved.replaceChildren(say.signedOut, " ", Object.assign(make("a", "", say.signIn), { href: reply.url }));
    return false;
  }
  const told = reply.headers.get("content-type")?.startsWith("application/json") ? await reply.json() : {};
  if (told.version === undefined) {
    refused(reply.status, told);
    return false;
  }
  version.value = told.version;
  kept = now;
  saved.textContent = told.saved;
  spoken.textContent = "";
  problem.querySelector(".danger")?.remove();
  if (length) {
    length.textContent = told.length;
    length.classList.toggle("over", told.over);
  }
  if (values() === kept) plumbline.drop(say.piece);
  else timer = setTimeout(save, SAVE_AFTER_MS);
  return true;
}

function refused(status, { detail, current }) {
  stopped = status !== 422; // a text that is too long can be shortened, and is saved then
  if (!current) return problem.replaceChildren(alert(stopped ? "warn" : "danger", detail ?? say.offline));
  const { text, instruction, pairs } = current.content;
  const theirs = [text, instruction, ...pairs.flatMap(({ input, completion }) => [input, completion])].filter(Boolean).join("\n\n");
  const keep = choice(say.yours, () => {
    version.value = current.version;
    stopped = false;
    problem.replaceChildren();
    save();
  });
  const take = choice(say.theirs, () => {
    plumbline.drop(say.piece);
    again();
  });
  problem.replaceChildren(alert("warn", say.changed, both([say.here, read(entries()), keep], [say.elsewhere, theirs, take])));
}

function alert(kind, text, ...more) {
  const box = make("div", `alert ${kind}`, "");
  box.setAttribute("role", kind === "info" ? "group" : "alert");
  box.append(make("p", "", text), ...more);
  return box;
}

function again() {
  leaving = true; // the text here is discarded
  location.reload();
}

piece.addEventListener("input", () => {
  clearTimeout(copying);
  copying = setTimeout(copy, COPY_AFTER_MS);
  timer ||= setTimeout(save, SAVE_AFTER_MS); // from the first word on: who writes without a pause is saved too
});
if (values() !== kept) timer = setTimeout(save, SAVE_AFTER_MS);
document.addEventListener("visibilitychange", () => document.hidden && save());
addEventListener("pagehide", () => leaving || (copy(), save()));
addEventListener("online", () => save());
addEventListener("pageshow", () => (leaving = false));

piece.addEventListener("submit", async (event) => {
  if (leaving) return;
  event.preventDefault();
  const button = event.submitter;
  const discards = button?.getAttribute("formaction")?.endsWith("/discard");
  await saving; // else the form would send an older version than the server has by then
  if (!discards && !(await save())) return (problem.firstElementChild ?? saved).scrollIntoView({ block: "center" });
  if (!button?.name && !button?.hasAttribute("formaction")) return; // that was all it is for
  await new Promise((next) => setTimeout(next)); // a form cannot be submitted again within its own submit event
  leaving = true;
  clearTimeout(timer);
  plumbline.drop(say.piece);
  piece.requestSubmit(button);
});

addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  if (event.key === "s") save();
  else if (event.key === "Enter") piece.querySelector("button.primary").click();
  else return;
  event.preventDefault();
});

// --- Words of this account that are in this browser only ---

const csrf = piece.elements.namedItem("csrf_token").value;
for (const found of plumbline.all().filter((one) => one.assignment === say.piece)) {
  const arrived = await plumbline.arrived(found, csrf);
  if (arrived.ok && arrived.version !== Number(version.value) && values() === kept) again(); // this page is from before them
  if (arrived.ok) continue;
  const use = choice(say.useCopy, async () => {
    if ((await plumbline.send({ ...found, version: version.value }, csrf)).ok) again();
    else saved.textContent = say.offline;
  });
  const leave = choice(say.dropCopy, () => {
    localStorage.removeItem(found.key);
    box.remove();
  });
  const time = new Date(found.at).toLocaleTimeString([], { timeStyle: "short" });
  const sides = both([say.copy, read(found.entries), use], [say.server, read(entries(false)), leave]);
  const box = alert("info", say.copyNewer.replace("{time}", time), sides);
  problem.append(box);
}
