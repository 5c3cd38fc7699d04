// The desk with a script: saves while one works, keeps the lease, counts active time, and goes on without a page load.
// Everything here only presses the buttons and fills the fields that the page has without it.

import { keys } from "./keys.js";
import { every, follow, get, prepare, read, show, start } from "./pages.js";
import { both, choice, content, lines, make } from "./sides.js";

const SAVE_AFTER_MS = 1200;
const COPY_AFTER_MS = 150;
const RETRY_AFTER_MS = 3000;
const QUIET_MS = 300; // what takes less is not worth a word
const IDLE_AFTER_MS = 60_000;
const LEAVE_AFTER_MS = 800;
const PREPARE_AFTER_MS = 1000;
const PREPARE_AGAIN_MS = 60_000;
// Fields that say who sends what when, and not what was answered.
const ABOUT = new Set(["", "csrf_token", "labeler", "version", "fence", "key", "active_seconds", "reason", "note", "problem", "rated"]);

let back = performance.getEntriesByType("navigation")[0]?.type === "back_forward";

function desk(gone) {
  plumbline.save = async () => true;
  plumbline.unreached = () => {};
  const desk = document.querySelector(".desk");
  if (!desk) return;
  const form = document.getElementById("work");
  const line = document.getElementById("saved");
  const standing = document.getElementById("standing");
  const say = desk.dataset;
  const address = `/assignments/${say.assignment}`;
  const field = (name) => form.elements.namedItem(name);

  // --- What is written: now, and as the page came ---

  function entries(changed = true) {
    const made = [];
    for (const one of form.elements) {
      if (ABOUT.has(one.name) || one.type === "submit" || one.disabled) continue;
      const box = one.type === "radio" || one.type === "checkbox";
      if (box && !(changed ? one.checked : one.defaultChecked)) continue;
      made.push([one.name, box || changed ? one.value : one.options ? chosen(one) : one.defaultValue]);
    }
    return made;
  }
  const chosen = (select) => ([...select.options].find((one) => one.defaultSelected) ?? select.options[0])?.value;
  const written = () => JSON.stringify(entries());
  // What the server has. Not what stands there now: somebody may have written before this script came.
  let kept = JSON.stringify(entries(false));
  let saving = null; // the save under way
  let timer = 0;
  let copying = 0;
  let stopped = false; // by a conflict, which the labeler decides

  // --- Saving ---

  function tell(state, text, ...more) {
    const before = line.dataset.state;
    if (before !== state && ["offline", "over", before === "offline" && "saved"].includes(state)) announce(text);
    line.dataset.state = state;
    line.replaceChildren(text, ...more);
  }

  function copy() {
    clearTimeout(copying);
    if (written() !== kept) plumbline.keep(say.assignment, { entries: entries(), version: Number(field("version").value), step: location.search });
  }

  plumbline.save = function save() {
    timer = clearTimeout(timer);
    saving ??= post().finally(() => (saving = null));
    return saving;
  };

  async function post() {
    if (stopped) return false;
    const now = written();
    if (now === kept) return true;
    copy();
    const slow = setTimeout(() => tell("saving", say.saving), QUIET_MS);
    const { reply, told } = await ask(`${address}/draft`, new FormData(form));
    clearTimeout(slow);
    if (!reply) {
      tell("offline", say.offline);
      later(RETRY_AFTER_MS);
      return false;
    }
    if (reply.ok && told.version !== undefined) {
      acknowledged(now, told);
      return true;
    }
    refused(reply, told);
    return false;
  }

  function acknowledged(now, told) {
    field("version").value = told.version;
    kept = now;
    tell("saved", told.saved ?? line.textContent);
    for (const id of ["alert", "error"]) document.getElementById(id)?.remove(); // what was refused is accepted now
    if (told.lost) alert("warn", told.lost);
    if (written() === kept) plumbline.drop(say.assignment);
    else later();
  }

  function refused(reply, told) {
    stopped = reply.status !== 422; // what is not accepted can be changed, and is saved then
    if (reply.status === 409) conflict(told);
    else if (told.sign_in) {
      plumbline.drop(say.assignment); // the server keeps it as the draft
      over(told.detail ?? say.signedOut, told.sign_in);
    } else if (reply.redirected && new URL(reply.url).pathname === "/sign-in") over(say.signedOutHere, reply.url);
    else alert("danger", told.detail ?? say.refused);
  }

  function over(text, url) {
    tell("over", text, " ", Object.assign(document.createElement("a"), { href: url, textContent: say.signIn }));
  }

  // A reply, if the server was reached, and what it told.
  async function ask(url, body, accept = "application/json") {
    const small = [...body.values()].reduce((sum, value) => sum + value.length, 0) < 30_000; // a browser keeps 64 kB alive
    try {
      const reply = await fetch(url, { method: "POST", body, headers: { Accept: accept }, keepalive: small });
      const json = reply.headers.get("content-type")?.startsWith("application/json");
      return { reply, told: json ? await reply.json() : {} };
    } catch {
      return { reply: null, told: {} };
    }
  }

  function later(ms = SAVE_AFTER_MS) {
    clearTimeout(timer);
    timer = setTimeout(plumbline.save, ms);
  }

  form.addEventListener("input", () => {
    clearTimeout(copying);
    copying = setTimeout(copy, COPY_AFTER_MS);
    // From the first word on, not from the last: who writes without a pause is saved too.
    if (!stopped && line.dataset.state !== "offline") timer ||= setTimeout(plumbline.save, SAVE_AFTER_MS);
  });
  document.addEventListener("visibilitychange", () => document.hidden && plumbline.save(), { signal: gone });
  addEventListener("pagehide", () => (copy(), plumbline.save()), { signal: gone });
  const online = async () => (await plumbline.save()) && line.dataset.state === "offline" && tell("saved", "");
  addEventListener("online", online, { signal: gone });
  plumbline.unreached = () => tell("offline", say.notSent);
  gone.addEventListener("abort", () => (clearTimeout(timer), clearTimeout(copying)));
  // Who leaves by a link a moment after the last word is not told on the next page that it never arrived.
  document.addEventListener(
    "click",
    async (event) => {
      const link = event.target.closest("a[href]:not([href^='#'], [target])");
      const elsewhere = event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey;
      if (!link || elsewhere || event.defaultPrevented || stopped || written() === kept) return;
      event.preventDefault();
      await Promise.race([plumbline.save(), new Promise((next) => setTimeout(next, LEAVE_AFTER_MS))]);
      location.assign(link.href);
    },
    { signal: gone },
  );
  if (written() !== kept) later();

  // --- Going on ---

  let busy = false; // on its way: a second click does nothing
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.submitter;
    if (busy) return;
    busy = true;
    await press(button);
    busy = false;
  });

  async function press(button) {
    await saving;
    if (stopped) {
      (document.getElementById("alert") ?? line).scrollIntoView({ block: "center" });
      return document.querySelector("#alert :is(a, button)")?.focus({ preventScroll: true });
    }
    if (button?.matches(".quiet[value=save]")) return plumbline.save();
    const url = button?.hasAttribute("formaction") ? button.formAction : form.action;
    timer = clearTimeout(timer);
    const now = written();
    copy();
    const step = url.endsWith("/draft");
    if (!step) document.querySelector("#notes .undo")?.remove(); // it would take back something else than this
    const slow = setTimeout(() => tell("saving", say.saving), QUIET_MS);
    const { reply, told } = await ask(url, new FormData(form, button), step ? "text/html" : "application/json");
    clearTimeout(slow);
    if (!reply) return tell("offline", step ? say.offline : say.notSent), later(RETRY_AFTER_MS);
    if (step && new URL(reply.url).pathname !== "/sign-in") {
      if (reply.ok && written() === now) done(now);
      return show({ ...(await read(reply)), ...(reply.ok ? {} : { url: location.href }) });
    }
    if (reply.ok && told.next) {
      done(now);
      if (field("note")) plumbline.sent(field("note"));
      return follow(told);
    }
    if (reply.ok && told.note) return acknowledged(now, { version: told.version }), reported(told.note);
    if (reply.status === 422) {
      if (told.version !== undefined) acknowledged(now, { version: told.version });
      const box = alert("danger", told.detail);
      if (button?.value === "report") missed(field("problem"), box);
      else field(told.field ?? "")?.focus?.({ preventScroll: true }); // the message stays in sight
      return;
    }
    refused(reply, told);
  }

  function done(now) {
    kept = now;
    plumbline.drop(say.assignment);
  }

  // What is wrong with one field is said at that field.
  function missed(area, box) {
    area.closest("label").after(box);
    area.focus();
  }

  function reported(note) {
    const text = Object.assign(document.createElement("p"), { className: "note", textContent: note });
    document.getElementById("notes").replaceChildren(text);
    plumbline.sent(field("problem"));
    field("problem").value = "";
    desk.querySelector("details.report").open = false;
    desk.querySelector("details.report summary").focus();
  }

  // --- Saying what happened ---

  function announce(text) {
    document.getElementById("spoken").textContent = text;
  }

  function alert(kind, text, ...more) {
    document.getElementById("alert")?.remove();
    const box = make("div", `alert ${kind}`, "");
    box.id = "alert";
    box.setAttribute("role", "alert");
    box.append(make("p", "", text), ...more);
    standing.append(box);
    box.scrollIntoView({ block: "nearest" });
    return box;
  }

  function conflict({ detail, current }) {
    if (current?.version === undefined) { // already submitted
      tell("stopped", say.notSaved);
      return alert("warn", `${detail} ${say.stays}`, Object.assign(make("a", "", say.openHandedIn), { href: address }));
    }
    tell("stopped", say.unsaved);
    const mine = choice(say.yours, () => {
      field("version").value = current.version;
      stopped = false;
      document.getElementById("alert").remove();
      plumbline.save();
    });
    const theirs = choice(say.theirs, () => {
      plumbline.drop(say.assignment);
      again();
    });
    alert("warn", say.changed, both([say.here, lines(content(entries(), current.content), say), mine], [say.elsewhere, lines(current.content, say), theirs]));
  }

  async function again() {
    kept = written();
    show(await get(location.href));
  }

  // --- Words of this account that are in this browser only ---

  async function offer() {
    const csrf = field("csrf_token").value;
    let behind = false; // the page is from before the last words of the one that was left arrived
    for (const found of plumbline.all().filter((one) => one.assignment === say.assignment)) {
      if (JSON.stringify(found.entries) === kept) {
        localStorage.removeItem(found.key);
        continue;
      }
      const { ok, version } = await plumbline.arrived(found, csrf);
      if (gone.aborted) return;
      behind ||= ok && version !== Number(field("version").value);
      if (ok) continue;
      const server = Number(field("version").value);
      const time = new Date(found.at).toLocaleTimeString([], { timeStyle: "short" });
      const use = choice(say.useCopy, async () => {
        const sent = await plumbline.send({ ...found, version: Number(field("version").value) }, csrf);
        if (sent.ok || sent.current) again();
        else tell("offline", say.offline);
      });
      const leave = choice(say.dropCopy, () => {
        localStorage.removeItem(found.key);
        box.remove();
      });
      const text = (found.version < server ? say.copyOlder : say.copyNewer).replace("{time}", time);
      const box = alert("info", text, both([say.copy, lines(content(found.entries), say), use], [say.server, lines(content(entries(false)), say), leave]));
      box.removeAttribute("id");
      box.setAttribute("role", "group");
      announce(text);
    }
    if (behind && written() === kept) again();
  }
  if (say.standing !== "submitted") offer();

  // Back shows a stale page: reload the item.
  async function refresh() {
    if (written() !== kept) return;
    const page = await get(location.href).catch(() => null); // no network: the page stays
    if (page && !gone.aborted && written() === kept) show(page);
  }
  if (back) refresh();
  back = false;
  addEventListener("pageshow", (event) => event.persisted && refresh(), { signal: gone });

  // --- The lease, active time, and what comes next ---

  let active = Date.now();
  for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchstart"])
    addEventListener(kind, () => (active = Date.now()), { passive: true, signal: gone });

  function count() {
    const counter = field("active_seconds");
    if (!document.hidden && Date.now() - active < IDLE_AFTER_MS) counter.value = Number(counter.value) + 1;
  }

  async function beat() {
    if (say.standing !== "held" || Date.now() - active > (say.leaseSeconds * 1000) / 2) return;
    const { reply, told } = await ask(`${address}/heartbeat`, new URLSearchParams({ fence: say.fence, csrf_token: field("csrf_token").value }));
    if (reply?.status === 409) alert("warn", told.detail);
  }

  const ahead = () => prepare(address, field("csrf_token").value).catch(() => {});
  const first = setTimeout(ahead, PREPARE_AFTER_MS);
  gone.addEventListener("abort", () => clearTimeout(first));
  every(1000, count, gone);
  every((say.leaseSeconds * 1000) / 4, beat, gone);
  every(PREPARE_AGAIN_MS, () => document.hidden || Date.now() - active > PREPARE_AGAIN_MS || ahead(), gone);

  keys(desk, form, gone);
}

start(desk);
