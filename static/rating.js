// Rating with a script: the next completion is there at once, because all of them are in the page.
// What is written goes into the page's own fields; saving them, and the lease, are desk.js's.

export default function start(ended) {
  const form = document.getElementById("work");
  const desk = form.closest(".desk");
  const root = document.getElementById("rating");
  const steps = [...desk.querySelectorAll("[data-step]")];
  const letters = steps.map((step) => step.dataset.step);
  const heading = desk.querySelector("h1");
  const shown = form.elements.namedItem("rated");
  const said = document.getElementById("said");
  const [goOn, back, leave] = [form.querySelector("[value=go_on]"), document.getElementById("back"), document.getElementById("leave")];

  const panel = (letter) => root.querySelector(`.panel[data-letter="${letter}"]`);
  const gone = (letter) => form.elements.namedItem(`flags_complete.${letter}`);
  const boxes = (letter) => [...panel(letter).querySelectorAll("[type=radio]")];
  const rating = (letter) => boxes(letter).find((box) => box.checked)?.value ?? "";
  const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_all, name) => values[name] ?? "");
  const changed = (element) => element.dispatchEvent(new Event("input", { bubbles: true }));

  function show(letter) {
    const before = shown.value;
    for (const one of root.querySelectorAll("[data-letter]")) if (one.hidden !== (one.dataset.letter !== letter)) one.hidden = !one.hidden;
    for (const box of boxes(before)) box.required = false; // what cannot be seen cannot be asked for
    for (const box of boxes(letter)) box.required = true;
    shown.value = letter;
    const here = letters.indexOf(letter);
    back.hidden = here === 0;
    back.value = `at:${letters[here - 1]}`;
    back.firstElementChild.textContent = filled(back.firstElementChild.dataset.to, { letter: letters[here - 1] });
    leave.value = `at:${letters[here + 1] ?? "ranking"}`;
    const { to, ranking } = leave.firstElementChild.dataset;
    leave.firstElementChild.textContent = letters[here + 1] ? filled(to, { letter: letters[here + 1] }) : ranking;
    heading.textContent = filled(root.dataset.heading, { letter });
    document.title = document.title.replace(/^[^·]*/, `${heading.textContent} `);
    const position = document.getElementById("here");
    position.textContent = filled(position.dataset.of, { n: here + 1 });
    history.replaceState(null, "", `?at=${letter}`);
    tell();
    for (const one of [root.querySelector(".prompt"), panel(letter)]) one.scrollTop = 0;
    const title = root.querySelector(`.completion[data-letter="${letter}"] h2`);
    title.focus({ preventScroll: true });
    const top = title.getBoundingClientRect().top;
    if (top < 0 || top > innerHeight / 2) title.scrollIntoView({ block: "start" });
  }

  function tell() {
    for (const step of steps) {
      const letter = step.dataset.step;
      const n = rating(letter);
      const done = gone(letter).value !== "";
      const name = filled(step.dataset[done ? "done" : n ? "rated" : "none"], { n });
      const here = letter === shown.value;
      if (step.getAttribute("aria-label") === name && step.hasAttribute("aria-current") === here) continue;
      step.setAttribute("aria-label", name);
      if (here) step.setAttribute("aria-current", "step");
      else step.removeAttribute("aria-current");
      step.classList.toggle("done", done);
      step.querySelector(".rated").dataset.n = n;
      for (const line of panel(letter).querySelectorAll(".said, .unsaid")) line.hidden = line.matches(".said") !== done;
    }
    const missing = document.getElementById("missing");
    const left = letters.filter((letter) => !gone(letter).value);
    missing.textContent = left.length ? filled(missing.dataset.missing, { letters: left.join(", ") }) : missing.dataset.done;
  }

  // --- Buttons: without this script each would post the form and reload the page ---

  desk.addEventListener("click", (event) => {
    const button = event.target.closest("button[name=do]");
    const to = button?.value.startsWith("at:") ? button.value.slice(3) : "";
    if (button === goOn) {
      const letter = shown.value;
      const n = rating(letter);
      const left = letters.filter((one) => one !== letter && !gone(one).value);
      if (!n || !left.length) return; // the browser asks for the rating; the ranking is a page of its own
      event.preventDefault();
      gone(letter).value = "yes";
      changed(gone(letter));
      show(left.find((one) => one > letter) ?? left[0]);
      said.textContent = filled(root.dataset.went, { letter, n });
    } else if (letters.includes(to)) {
      event.preventDefault();
      const letter = shown.value;
      show(to);
      said.textContent = gone(letter).value || to === letter ? "" : filled(root.dataset.kept, { letter });
    }
  });
  form.addEventListener("input", tell);

  // --- Keys ---

  addEventListener(
    "keydown",
    (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.repeat) return;
      if (desk.classList.contains("without-keys") || event.target.closest("textarea, select, input:not([type=radio], [type=checkbox])")) return;
      if (document.querySelector("dialog[open]")) return;
      if (!key(event.key, event.target)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
    },
    { capture: true, signal: ended },
  );

  function key(name, target) {
    if (target.matches("[type=radio]") && name.startsWith("Arrow")) return false; // they choose within the group
    const box = boxes(shown.value).find((one) => one.value === name);
    const flag = panel(shown.value).querySelector(`[data-key="${CSS.escape(name)}"]`);
    if (box) {
      box.checked = true;
      changed(box);
      goOn.click();
    } else if (flag) {
      flag.checked = !flag.checked;
      changed(flag);
    } else {
      const button = [back, leave].find((one) => !one.hidden && [one.dataset.key, one.dataset.twin].includes(name));
      button?.click();
      return Boolean(button);
    }
    return true;
  }

  tell();
}
