// Suggestions without leaving the page: one may go on writing while a policy writes too.
// What is taken goes into the editor, whose draft desk.js keeps.

import { visible } from "./texts.js";

const SHOW_AFTER_MS = 300;

export default function start() {
  const form = document.getElementById("work");
  const suggestions = document.getElementById("suggestions");
  const list = document.getElementById("suggested");
  const status = document.getElementById("suggesting");
  const ask = document.getElementById("suggest");
  const editor = document.getElementById("text");
  const say = suggestions.dataset;

  const post = (url) =>
    fetch(url, {
      method: "POST",
      body: new URLSearchParams({ csrf_token: form.elements.namedItem("csrf_token").value }),
      headers: { Accept: "application/json" },
    });

  post(`${say.url}/prepare`).catch(() => {}); // the network that will be asked is loaded while one reads

  // --- Asking ---

  let asking = false;
  ask.addEventListener("click", async (event) => {
    event.preventDefault();
    if (asking) return;
    asking = true;
    ask.setAttribute("aria-disabled", "true");
    suggestions.hidden = false;
    const shown = setTimeout(() => (status.textContent = say.writing), SHOW_AFTER_MS);
    let told = say.none;
    try {
      const reply = await post(say.url);
      const answer = reply.headers.get("content-type")?.startsWith("application/json") ? await reply.json() : {};
      if (reply.ok) {
        show(answer);
        told = say.here;
      } else told = answer.detail ?? say.none;
    } catch {
      // The network is away: what was said above holds.
    }
    clearTimeout(shown);
    status.textContent = told;
    ask.removeAttribute("aria-disabled");
    asking = false;
  });

  function show({ id, text }) {
    const card = document.getElementById("suggestion-card").content.firstElementChild.cloneNode(true);
    const raw = card.querySelector(".raw");
    raw.textContent = visible(text);
    raw.dataset.text = text;
    card.querySelector("button").value = `take:${id}`;
    for (const other of list.querySelectorAll("[data-key]")) {
      other.removeAttribute("data-key");
      other.querySelector("kbd")?.remove();
    }
    list.prepend(card);
  }

  // --- Taking ---

  list.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    event.preventDefault();
    const texts = [...list.querySelectorAll(".raw")].map((one) => one.dataset.text.trim());
    const text = button.closest(".suggestion").querySelector(".raw").dataset.text;
    // Nothing that was typed is lost: it stays above what was taken.
    const keep = editor.value.trim() && !texts.includes(editor.value.trim());
    editor.value = keep ? `${editor.value.trimEnd()}\n\n${text}` : text;
    form.elements.namedItem("suggestion").value = button.value.replace("take:", "");
    editor.dispatchEvent(new Event("input", { bubbles: true }));
    editor.focus();
    editor.setSelectionRange(editor.value.length, editor.value.length);
  });
}
