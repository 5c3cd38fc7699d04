// One text whole, or two side by side with the words that only one of them has; these are found while one reads.

import { written } from "./texts.js";

const MOST_CELLS = 4_000_000; // of the table below: two texts of 2,000 words
const SLICE_MS = 12; // then the page gets a turn

// What shows one or two completions in the dialog.
export function comparing(dialog) {
  const heading = document.getElementById("peek-heading");
  const note = document.getElementById("peek-note");
  const shown = dialog.querySelector(".peeked");
  let turn = 0;

  async function show(articles) {
    const mine = (turn += 1);
    const titles = articles.map((one) => one.querySelector("h2").textContent);
    const texts = articles.map((one) => one.querySelector(".text"));
    const two = texts.length === 2;
    heading.textContent = two ? dialog.dataset.title : titles[0];
    note.hidden = true;
    shown.classList.toggle("two", two);
    const whole = texts.map(written);
    const bodies = texts.map((text, index) => (two ? raw([{ text: whole[index] }]) : text.cloneNode(true)));
    shown.replaceChildren(
      ...bodies.map((body, index) => {
        const section = document.createElement("section");
        if (two) section.append(Object.assign(document.createElement("h3"), { textContent: titles[index] }));
        section.append(body);
        return section;
      }),
    );
    dialog.showModal();
    heading.focus();
    if (!two) return;
    const parts = await differences(...whole);
    if (turn !== mine) return;
    note.hidden = parts !== null;
    parts?.forEach((pieces, index) => bodies[index].replaceWith(raw(pieces)));
  }

  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("button")) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target.closest("button")) return;
    event.preventDefault();
    dialog.close();
  });

  return show;
}

function raw(pieces) {
  const made = document.createElement("div");
  made.className = "raw text";
  made.dir = "auto";
  made.lang = ""; // not that of the page
  for (const { text, own } of pieces) {
    const part = own ? document.createElement("mark") : document.createTextNode("");
    part.textContent = text;
    made.append(part);
  }
  return made;
}

// Words with the space after them; scripts that put no spaces between words go by character.
const split = (text) => text.match(/(?:[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{N}\p{M}]+|[^\s])\s*|\s+/gu) ?? [];

// [[{text, own}] of a, the same of b], by a longest common subsequence of words; null where that would take too long.
async function differences(a, b) {
  const [left, right] = [split(a), split(b)];
  const [x, y] = [left, right].map((words) => words.map((word) => word.trim()));
  let start = 0;
  while (start < x.length && start < y.length && x[start] === y[start]) start += 1;
  let end = 0;
  while (end < x.length - start && end < y.length - start && x.at(-1 - end) === y.at(-1 - end)) end += 1;
  const [m, n] = [x.length - start - end, y.length - start - end];
  if ((m + 1) * (n + 1) > MOST_CELLS) return null;
  const numbers = new Map();
  const number = (word) => numbers.get(word) ?? (numbers.set(word, numbers.size), numbers.size - 1);
  const [p, q] = [x.slice(start, start + m), y.slice(start, start + n)].map((words) => Int32Array.from(words, number));
  const wide = n + 1;
  const length = new Uint16Array((m + 1) * wide); // of the longest common subsequence of what follows i in p and j in q
  let until = performance.now() + SLICE_MS;
  for (let i = m - 1; i >= 0; i -= 1) {
    if (performance.now() > until) {
      await new Promise((next) => setTimeout(next));
      until = performance.now() + SLICE_MS;
    }
    for (let j = n - 1; j >= 0; j -= 1) {
      const at = i * wide + j;
      length[at] = p[i] === q[j] ? length[at + wide + 1] + 1 : Math.max(length[at + wide], length[at + 1]);
    }
  }
  const common = [new Set(), new Set()];
  for (let i = 0, j = 0; i < m && j < n; ) {
    if (p[i] === q[j]) {
      common[0].add(start + i++);
      common[1].add(start + j++);
    } else if (length[(i + 1) * wide + j] >= length[i * wide + j + 1]) i += 1;
    else j += 1;
  }
  return [pieces(left, common[0], start, end), pieces(right, common[1], start, end)];
}

function pieces(words, common, start, end) {
  const made = [];
  words.forEach((word, at) => {
    const own = at >= start && at < words.length - end && !common.has(at) && word.trim() !== "";
    if (made.at(-1)?.own === own) made.at(-1).text += word;
    else made.push({ text: word, own });
  });
  return made;
}
