// Replace the page by the next one without a reload; the page after it is prepared in advance.
// Page scripts (rating.js, ranking.js, ...) run again for each page; what they listen to on the window ends with it.

let leaving = new AbortController();
let turn = 0;
let ready = null; // {url, page}: the prepared one

const listen = window.addEventListener.bind(window);
window.addEventListener = (kind, act, options) =>
  listen(kind, act, { signal: leaving.signal, ...(typeof options === "object" ? options : { capture: Boolean(options) }) });
const every = window.setInterval.bind(window);
window.setInterval = (...given) => {
  const clock = every(...given);
  leaving.signal.addEventListener("abort", () => clearInterval(clock));
  return clock;
};

const parse = (html) => new DOMParser().parseFromString(html, "text/html");

async function get(url) {
  // After Back a browser would answer from its cache, whatever the headers say.
  const reply = await fetch(url, { headers: { Accept: "text/html" }, cache: "reload" });
  return { url: reply.url, page: parse(await reply.text()) };
}

function styles(page) {
  const missing = [...page.querySelectorAll("link[rel=stylesheet]")].filter(
    (link) => !document.querySelector(`link[href="${CSS.escape(link.getAttribute("href"))}"]`),
  );
  const loaded = (link) => {
    const made = document.createElement("link");
    made.rel = "stylesheet";
    made.href = link.getAttribute("href");
    document.head.append(made);
    return new Promise((done) => (made.onload = made.onerror = done));
  };
  return Promise.all(missing.map(loaded));
}

// Shows a page in the place of this one; `notes` is what the live region says, if not what the page brings along.
async function show(page, url, notes) {
  const main = page.getElementById("main");
  if (!main) return location.assign(url);
  await styles(page);
  leaving.abort();
  leaving = new AbortController();
  if (new URL(url, location).href !== location.href) history.pushState(null, "", url);
  document.title = page.title;
  document.getElementById("main").replaceWith(document.adoptNode(main));
  document.getElementById("notes").replaceChildren(...(notes ?? page.getElementById("notes").childNodes));
  scrollTo({ top: 0, behavior: "instant" });
  const heading = main.querySelector("h1");
  heading.tabIndex = -1;
  (main.querySelector("[autofocus]") ?? heading).focus({ preventScroll: true });
  turn += 1;
  const here = turn;
  plumbline.undoing();
  plumbline.restore();
  plumbline.start();
  for (const script of page.querySelectorAll("script[type=module]:not([data-once])"))
    if (turn === here) await import(`${script.getAttribute("src")}#${here}`); // in the page's order, as a browser runs them
}

// Goes on to what a reply names: {next, note, undo, stands}.
async function follow({ next, note, undo, stands }) {
  if (!next.startsWith("/assignments/")) return location.assign(next);
  const prepared = ready?.url === next && ready.page.querySelector(".desk")?.dataset.stands === stands;
  try {
    const found = prepared ? ready : await get(next);
    ready = null;
    await show(found.page, next, note ? [noted(found.page, note, undo)] : undefined);
  } catch {
    location.assign(next);
  }
}

function noted(page, note, undo) {
  const made = page.getElementById("note-with-undo").content.firstElementChild.cloneNode(true);
  made.querySelector("p").textContent = note;
  const form = made.querySelector("form");
  if (undo) form.setAttribute("action", undo);
  else form.remove();
  return made;
}

async function prepare(address, csrf) {
  const body = new URLSearchParams({ csrf_token: csrf });
  const reply = await fetch(`${address}/ahead`, { method: "POST", body, headers: { Accept: "application/json" } });
  const { next } = reply.status === 200 ? await reply.json() : {};
  if (!next) ready = null;
  else if (ready?.url !== next) {
    ready = { ...(await get(next)), url: next };
    await styles(ready.page);
  }
}

listen("pagehide", () => {
  const csrf = document.querySelector("[name=csrf_token]")?.value;
  if (ready && csrf) navigator.sendBeacon("/assignments/ahead/give-back", new URLSearchParams({ csrf_token: csrf }));
  ready = null;
});
listen("popstate", () => location.reload());

Object.assign(plumbline, { show, follow, prepare, get, parse, leaving: () => leaving.signal });
