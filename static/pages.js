// Goes from page to page of the desk without a reload; the next one is fetched and parsed in advance.
// Its .desk names the script of its own (rating.js, ranking.js, ...), which exports what starts it and is given the signal
// that ends what it listens to: nothing of a page outlives it.

let always = () => {}; // what starts on each page
let leaving = new AbortController();
let ready = null; // {url, page} of what was fetched in advance

export function every(ms, act, ended) {
  const clock = setInterval(act, ms);
  ended.addEventListener("abort", () => clearInterval(clock));
}

// Starts the desk, and then what its page has of its own, now and on each page that comes.
export function start(common) {
  always = common;
  return enter();
}

async function enter() {
  const ended = leaving.signal;
  const src = document.querySelector(".desk")?.dataset.script;
  // Loaded first, so that an early click finds either all of the page's scripts or none of them.
  const own = src && (await import(src).catch(() => null));
  if (ended.aborted) return;
  always(ended);
  own?.default(ended);
}

export async function get(url) {
  // After Back a browser would answer from its cache, whatever the headers say.
  const reply = await fetch(url, { headers: { Accept: "text/html" }, cache: "reload" });
  return read(reply);
}

export async function read(reply) {
  return { url: reply.url, page: new DOMParser().parseFromString(await reply.text(), "text/html") };
}

// Shows a page in place of this one; a given note replaces the notes that came with the page.
export async function show({ page, url }, { note, undo } = {}) {
  const main = page.getElementById("main");
  if (!main) return location.assign(url);
  leaving.abort();
  leaving = new AbortController();
  if (new URL(url, location).href !== location.href) history.pushState(null, "", url);
  document.title = page.title;
  document.getElementById("main").replaceWith(document.adoptNode(main));
  const notes = note ? [noted(note, undo)] : page.getElementById("notes").childNodes;
  document.getElementById("notes").replaceChildren(...notes);
  scrollTo({ top: 0, behavior: "instant" });
  const heading = main.querySelector("h1");
  heading.tabIndex = -1;
  (main.querySelector("[autofocus]") ?? heading).focus({ preventScroll: true });
  plumbline.undoing();
  plumbline.restore();
  await enter();
}

// Goes on to what a reply names.
export async function follow({ next, note, undo, stands }) {
  if (!next.startsWith("/assignments/")) return location.assign(next);
  const fresh = ready?.url === next && ready.page.querySelector(".desk")?.dataset.stands === stands;
  try {
    const found = fresh ? ready : await get(next);
    ready = null;
    await show({ ...found, url: next }, { note, undo });
  } catch {
    location.assign(next);
  }
}

function noted(note, undo) {
  const made = document.getElementById("note-with-undo").content.firstElementChild.cloneNode(true);
  made.querySelector("p").textContent = note;
  const form = made.querySelector("form");
  if (undo) form.setAttribute("action", undo);
  else form.remove();
  return made;
}

export async function prepare(address, csrf) {
  const body = new URLSearchParams({ csrf_token: csrf });
  const reply = await fetch(`${address}/ahead`, { method: "POST", body, headers: { Accept: "application/json" } });
  const { next } = reply.status === 200 ? await reply.json() : {};
  if (!next) ready = null;
  else if (ready?.url !== next) ready = { ...(await get(next)), url: next };
}

addEventListener("pagehide", () => {
  const csrf = document.querySelector("[name=csrf_token]")?.value;
  if (ready && csrf) navigator.sendBeacon("/assignments/ahead/give-back", new URLSearchParams({ csrf_token: csrf }));
  ready = null;
});
addEventListener("popstate", () => location.reload());

plumbline.show = async (reply) => show(await read(reply));
