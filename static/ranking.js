// The board of tiers: cards go to tiers by key, tap or drag. What stands on it (tiers.js) is written into the page's own
// fields, a place for each completion; saving them, and the lease, are desk.js's, and side by side is comparing.js's.

import { comparing } from "./comparing.js";
import { dragging } from "./dragging.js";
import { every } from "./pages.js";
import { written } from "./texts.js";
import { standing } from "./tiers.js";

const KEYS = { "=": "tie", t: "tie", n: "own", w: "whole", x: "bad", " ": "peek", m: "mark", u: "undo", v: "compare" };
const GOES_ON = new Set(["send", "tie", "own", "whole", "bad"]); // with these one goes to the next that is undecided
const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_all, name) => values[name] ?? "");

function make(tag, name = "", text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

export default function start(ended) {
  const form = document.getElementById("work");
  const desk = form.closest(".desk");
  const root = document.getElementById("ranking");
  const reading = root.querySelector(".reading");
  const board = document.getElementById("board");
  const tools = document.getElementById("tools");
  const said = document.getElementById("said");
  const dialog = document.getElementById("peek");
  const handIn = document.getElementById("hand-in").querySelector("[data-confirm]");
  const words = board.dataset;
  const articles = new Map([...root.querySelectorAll(".ranked")].map((one) => [one.dataset.letter, one]));
  const letters = [...articles.keys()];
  const k = letters.length;
  const ratings = new Map(letters.map((one) => [one, Number(articles.get(one).dataset.rating)]));

  // --- Where everything stands, in the page's fields ---

  const all = standing(letters, ratings, read());
  const { tiers, row, bad, unplaced, sequence, isOpen, openRows, depth, nextOpen, seeded, same } = all;
  let chosen = letters[0];
  let marked = [];
  const undos = [];

  function read() {
    const one = (letter) => {
      const value = form.querySelector(`[name="tier.${letter}"]:checked`)?.value ?? "";
      const open = form.elements.namedItem(`undecided.${letter}`).value;
      return [letter, { tier: Number(open && !value ? open : value) || 0, open: Boolean(open && !value), bad: value === "unacceptable" }];
    };
    return Object.fromEntries(letters.map(one));
  }

  let writing = false;
  function write() {
    for (const letter of letters) {
      const { tier, open, bad } = all.places[letter];
      const value = bad ? "unacceptable" : open ? "" : String(tier);
      for (const box of articles.get(letter).querySelectorAll("[type=radio]")) box.checked = box.value === value;
      form.elements.namedItem(`undecided.${letter}`).value = open ? tier : "";
    }
    writing = true;
    form.dispatchEvent(new Event("input", { bubbles: true }));
    writing = false;
  }

  // --- Acts ---

  function act(name, letter = chosen, tier = 0) {
    const before = structuredClone(all.places);
    if (all.act(name, letter, tier)) {
      undos.push({ places: before, chosen });
      write();
    }
    const next = GOES_ON.has(name) ? nextOpen(letter) : undefined;
    const told = described(letter);
    choose(next ?? letter);
    tell(next && next !== letter ? `${told}. ${described(next)}` : told);
  }

  function undo() {
    const last = undos.pop();
    if (!last) return tell(words.nothing);
    all.places = last.places;
    write();
    choose(last.chosen);
    tell(`${words.undone} ${described(chosen)}`);
  }

  // --- What it looks like ---

  function slip(letter) {
    const made = make("div", "slip");
    made.dataset.letter = letter;
    const grip = make("span", "grip", "⠿");
    grip.setAttribute("aria-hidden", "true");
    const pick = make("button", "pick", letter); // as large as its card, by an overlay
    pick.type = "button";
    const article = articles.get(letter);
    const flags = Number(article.dataset.flags);
    const text = written(article.querySelector(".text")).trim();
    const excerpt = make("span", "excerpt", text.slice(0, 240).replace(/\s+/g, " "));
    excerpt.dir = "auto";
    excerpt.lang = "";
    const about = [make("span", "rating", article.dataset.rating || "–"), excerpt, make("span", "flagged", flags ? `⚑ ${flags}` : "")];
    for (const one of about) one.setAttribute("aria-hidden", "true");
    made.append(grip, pick, ...about);
    return made;
  }

  const slips = new Map(letters.map((letter) => [letter, slip(letter)]));
  const pick = (letter) => slips.get(letter).querySelector(".pick");

  function tierRow(kind, number, label, small = "") {
    const made = make("li", kind);
    made.dataset.tier = number;
    const put = make("button", "put", label);
    put.type = "button";
    put.dataset.small = small;
    const question = make("p", "question");
    question.hidden = true;
    const tie = make("button", "small", words.allTie);
    tie.type = "button";
    tie.dataset.key = "w";
    const key = make("kbd", "key", "W");
    tie.append(key);
    question.append(make("span", "", words.undecided), tie);
    const held = make("div", "held");
    const right = make("div");
    right.append(question, held);
    made.append(put, right);
    return made;
  }

  const rows = [
    tierRow("none", "0", words.unplaced),
    ...tiers.map((n) => tierRow("tier-row", String(n), String(n), n === 1 ? words.best : "")),
    tierRow("last", "bad", words.unacceptable),
  ];
  rows[0].querySelector(".put").disabled = true;
  board.replaceChildren(...rows);

  function render() {
    for (const one of rows) {
      const { tier } = one.dataset;
      const held = tier === "bad" ? bad() : tier === "0" ? unplaced() : row(Number(tier));
      const open = held.some(isOpen);
      const place = one.querySelector(".held");
      const wanted = held.map((letter) => slips.get(letter));
      if (wanted.length !== place.children.length || wanted.some((made, index) => place.children[index] !== made)) place.replaceChildren(...wanted);
      one.classList.toggle("open", open);
      one.querySelector(".question").hidden = !open;
      if (tier === "0") one.hidden = !held.length;
      else one.querySelector(".put").setAttribute("aria-label", filled(tier === "bad" ? words.putLast : words.put, { letter: chosen, n: tier }));
    }
    const contradictions = letters.flatMap((a) =>
      letters.filter((b) => ratings.get(b) && ratings.get(a) >= ratings.get(b) + 2 && depth(all.places[b]) && depth(all.places[a]) > depth(all.places[b])).map((b) => [a, b]),
    );
    const odd = document.getElementById("odd");
    odd.replaceChildren(...contradictions.map(([a, b]) => make("li", "", filled(words.odd, { a, b, x: ratings.get(a), y: ratings.get(b) }))));
    odd.hidden = !contradictions.length;
    for (const [letter, made] of slips) {
      made.classList.toggle("chosen", letter === chosen);
      made.classList.toggle("marked", marked.includes(letter));
      made.classList.toggle("odd", contradictions.some((pair) => pair.includes(letter)));
      articles.get(letter).classList.toggle("read", letter === chosen);
      pick(letter).setAttribute("aria-pressed", letter === chosen);
      pick(letter).setAttribute("aria-label", `${described(letter)}, ${articles.get(letter).querySelector(".about").textContent}${marked.includes(letter) ? `, ${words.marked}` : ""}`);
    }
    tools.querySelector("[data-act=mark]").setAttribute("aria-pressed", marked.includes(chosen));
    handIn.textContent = same(all.places, seeded) ? handIn.dataset.confirm : handIn.dataset.edited;
  }

  function described(letter) {
    const { tier, bad } = all.places[letter];
    const others = row(tier).filter((one) => one !== letter).join(", ");
    const text = bad ? words.bad : !tier ? words.nowhere : isOpen(letter) ? words.open : others ? words.tied : words.alone;
    return filled(text, { letter, n: tier, others });
  }

  function tell(text, refused = false) {
    said.textContent = text;
    said.classList.toggle("refused", refused);
  }

  function choose(letter, focus = true) {
    const other = letter !== chosen;
    chosen = letter;
    render();
    if (other) reading.scrollTop = 0;
    if (focus) pick(letter).focus({ preventScroll: true });
    if (focus) pick(letter).scrollIntoView({ block: "nearest" });
  }

  function choosePlainly(letter) {
    choose(letter);
    tell(described(letter));
  }

  // --- Taps, clicks and keys ---

  board.addEventListener("click", (event) => {
    const picked = event.target.closest(".pick");
    const to = event.target.closest(".put");
    const all = event.target.closest(".question button");
    const { tier } = event.target.closest("li")?.dataset ?? {};
    if (picked) choosePlainly(picked.parentElement.dataset.letter);
    else if (to) tier === "bad" ? act("bad") : act("send", chosen, Number(tier));
    else if (all) act("whole", row(Number(tier))[0]);
  });

  tools.addEventListener("click", (event) => {
    const name = event.target.closest("button")?.dataset.act;
    if (name) press(name);
  });

  function press(name) {
    if (name === "undo") undo();
    else if (name === "peek") peek([chosen]);
    else if (name === "mark") mark();
    else if (name === "compare") marked.length === 2 ? peek([...marked].sort()) : tell(words.markTwo);
    else act(name);
  }

  function mark() {
    marked = marked.includes(chosen) ? marked.filter((one) => one !== chosen) : [...marked, chosen].slice(-2);
    choose(chosen);
    tell(marked.includes(chosen) ? `${described(chosen)}, ${words.marked}` : described(chosen));
  }

  const show = comparing(dialog);
  const peek = (which) => show(which.map((one) => articles.get(one)));
  dialog.addEventListener("close", () => pick(chosen).focus());

  addEventListener(
    "keydown",
    (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
      if (desk.classList.contains("without-keys") || event.target.closest("textarea, select, input:not([type=radio], [type=checkbox])")) return;
      if (document.querySelector("dialog[open]") || !key(event)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
    },
    { capture: true, signal: ended },
  );

  function key({ key: name, shiftKey, repeat, target }) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[name];
    if ((step || name === " ") && !shiftKey && reading.contains(target)) return false; // they scroll there
    if (step && target.closest("summary, [type=radio]")) return false;
    if (step && shiftKey) return act(step < 0 ? "up" : "down"), true;
    if (step) {
      const order = sequence();
      const next = order[order.indexOf(chosen) + step];
      if (next) choosePlainly(next);
      return true;
    }
    if (repeat || (shiftKey && name !== "=")) return false;
    if (name === " " && target.closest("button:not(.pick), a, summary, label, input")) return false;
    if (name === "Escape" && marked.length) return (marked = []), choosePlainly(chosen), true;
    if (letters.includes(name.toUpperCase())) return choosePlainly(name.toUpperCase()), true;
    if (/^[1-9]$/.test(name) && Number(name) <= k) return act("send", chosen, Number(name)), true;
    if (KEYS[name]) return press(KEYS[name]), true;
    return false;
  }

  dragging(board, rows, { row, act, lift: (letter) => choose(letter, false) }, ended);

  // --- Submitting ---

  for (const button of form.querySelectorAll("[formaction]")) {
    if (!["hand_in", "stop"].includes(button.value)) continue;
    button.addEventListener("click", (event) => {
      const groups = openRows().map((tier) => row(tier).join(", "));
      const text = groups.length
        ? filled(words.unsettled, { groups: groups.join("; ") })
        : unplaced().length && filled(words.missing, { letters: unplaced().join(", ") });
      if (!text) return;
      event.preventDefault();
      choose(nextOpen(chosen));
      tell(text, true);
    });
  }

  const tooFast = document.getElementById("too-fast");
  function showTooFast() {
    const active = Number(form.elements.namedItem("active_seconds").value);
    tooFast.hidden = active >= Number(tooFast.dataset.seconds);
  }
  showTooFast();
  every(1000, showTooFast, ended);

  // What another tab or the local copy put into the fields is what stands.
  form.addEventListener("input", (event) => {
    if (writing || event.target.name === "notes") return;
    const now = read();
    if (same(now, all.places)) return;
    all.places = now;
    render();
  });

  desk.classList.add("with-board");
  for (const one of [reading, reading.querySelector(".prompt")]) one.tabIndex = 0; // what scrolls is reached by Tab
  board.hidden = tools.hidden = false;
  chosen = nextOpen(letters.at(-1)) ?? sequence()[0];
  choosePlainly(chosen);
}
