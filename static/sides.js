// Two texts side by side, to choose from.

import { visible } from "./texts.js";

export function make(tag, name, text) {
  return Object.assign(document.createElement(tag), { className: name, textContent: text });
}

export function choice(text, act) {
  const made = Object.assign(make("button", "small", text), { type: "button" });
  made.addEventListener("click", act);
  return made;
}

// Two texts beside each other, each with the button that takes it.
export function both(...sides) {
  const made = make("div", "both", "");
  for (const [title, text, button] of sides) {
    const side = make("section", "", "");
    const raw = Object.assign(make("div", "raw", visible(text)), { dir: "auto", lang: "" });
    side.append(make("h2", "", title), raw, button);
    made.append(side);
  }
  return made;
}

// What fields hold, as a draft has it; what they do not speak of is as it stands in `otherwise`.
export function content(entries, otherwise = {}) {
  const made = { ...otherwise, completions: structuredClone(otherwise.completions ?? {}) };
  for (const [name, value] of entries) {
    const [kind, letter, flag] = name.split(".");
    const one = () => (made.completions[letter] ??= { flags: {} });
    if (kind === "flags_complete") one().flags = {}; // what is ticked comes after it
    else if (kind === "rating") one().rating = value;
    else if (kind === "flag") one().flags[flag] = true;
    else if (kind === "tier") Object.assign(one(), { tier: Number(value) || null, unacceptable: value === "unacceptable" });
    else if (["text", "notes"].includes(name)) made[name] = value;
  }
  return made;
}

// What a draft holds, as one reads it: its text, or a line for each completion.
export function lines({ completions = {}, notes = "", text }, { line, place, unacceptable, flags: labels }) {
  const labelled = JSON.parse(labels);
  const one = ([letter, { rating, tier, unacceptable: bad, flags }]) => {
    // A form may not hold the ratings, which were given on the pages before it.
    const said = (rating ? line : place).replace("{tier}", bad ? unacceptable : (tier ?? "–")).replace("{rating}", rating);
    return [`${letter}: ${said}`, ...Object.keys(flags).filter((flag) => flags[flag]).map((flag) => labelled[flag] ?? flag)].join(", ");
  };
  return text ?? [...Object.entries(completions).sort().map(one), notes].join("\n").trim();
}
