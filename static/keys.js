// Single keys: each presses a button that says so. They can be switched off and are dead while one types.

const NAMES = { Enter: "↵", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Shift: "⇧" };
const named = (key) => key.split("+").map((part) => NAMES[part] ?? part.toUpperCase()).join("");
const typing = (target) => target.closest("textarea, select, input:not([type=radio], [type=checkbox])");

export function keys(desk, form, ended) {
  const on = document.getElementById("keys-on");
  const dialog = document.getElementById("keys");
  const pass = desk.querySelector("details.pass");
  const primary = form.querySelector("button.primary");

  NAMES[" "] = dialog.dataset.space;

  on.checked = localStorage.getItem("plumbline.keys") !== "off";
  for (const one of desk.querySelectorAll(".keys-switch")) one.hidden = false;
  const show = () => {
    document.documentElement.classList.toggle("without-keys", !on.checked);
    desk.classList.toggle("without-keys", !on.checked);
  };
  on.addEventListener("change", () => {
    localStorage.setItem("plumbline.keys", on.checked ? "on" : "off");
    show();
  });
  show();

  document.getElementById("show-keys").addEventListener("click", help);

  function help() {
    const rows = new Map([[`${named("?")} K`, dialog.dataset.help]]);
    for (const one of document.querySelectorAll("[data-key]")) {
      if (!one.checkVisibility()) continue;
      const copy = (one.closest("label") ?? one).cloneNode(true);
      for (const part of copy.querySelectorAll("kbd, .hint")) part.remove();
      const twin = one.dataset.twin ? ` ${named(one.dataset.twin)}` : "";
      rows.set(named(one.dataset.key) + twin, copy.textContent.trim());
    }
    rows.set("Ctrl S", dialog.dataset.save);
    rows.set("Ctrl ↵", primary.childNodes[0].textContent.trim());
    const list = dialog.querySelector("dl");
    list.replaceChildren(
      ...[...rows].flatMap(([key, text]) => {
        const term = document.createElement("dt");
        term.append(...key.split(" ").flatMap((part) => [Object.assign(document.createElement("kbd"), { textContent: part }), " "]));
        return [term, Object.assign(document.createElement("dd"), { textContent: text })];
      }),
    );
    const sentences = [...desk.querySelectorAll(".keys-help")].filter((one) => one.checkVisibility({ visibilityProperty: true }));
    dialog.querySelector(".sentences").textContent = sentences.map((one) => one.textContent).join(" ");
    dialog.showModal();
  }

  // What opens below the fold is brought into sight; Enter in the note chooses no reason and answers nothing.
  for (const one of desk.querySelectorAll(".pass, .report"))
    one.querySelector("summary").addEventListener("click", () => setTimeout(() => one.open && one.scrollIntoView({ block: "nearest" })));
  pass?.querySelector("[name=note]").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    pass.querySelector("[data-digit]").focus();
  });

  function pressed(name, target) {
    const choosing = pass?.open && pass.contains(target);
    if (choosing && /^[1-9]$/.test(name)) return pass.querySelector(`[data-digit="${name}"]`);
    if (choosing && name === "Escape") return pass.querySelector("summary");
    if (name === "?" || name === "k") return document.getElementById("show-keys");
    return null;
  }

  addEventListener(
    "keydown",
    (event) => {
      const { key, target } = event;
      if (dialog.open || document.querySelector("dialog[open]")) return;
      if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
        if (key === "s") plumbline.save();
        else if (key === "Enter") primary.click();
        else return;
        return event.preventDefault();
      }
      const symbol = key === "?";
      if (!on.checked || event.altKey || (event.shiftKey && !symbol) || event.repeat || typing(target)) return;
      const button = pressed(key, target);
      if (!button) return;
      event.preventDefault();
      event.stopImmediatePropagation(); // the page's own keys: while one chooses why to skip, a digit rates nothing
      button.click();
    },
    { capture: true, signal: ended },
  );

  // After the page's own keys, which stop what they took.
  const press = (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.repeat || event.defaultPrevented) return;
    if (!on.checked || typing(target) || document.querySelector("dialog[open]")) return;
    if (target.matches("[type=radio]") && key.startsWith("Arrow")) return; // they choose within the group
    if (key === "Enter" && target.closest("button, a, summary")) return;
    const found = [...document.querySelectorAll(`[data-key="${CSS.escape(key)}"], [data-twin="${CSS.escape(key)}"]`)];
    const one = found.find((each) => each.checkVisibility());
    if (!one) return;
    event.preventDefault();
    if (one.type === "checkbox") {
      one.checked = !one.checked;
      one.dispatchEvent(new Event("input", { bubbles: true }));
    } else one.click();
    if (one === pass?.querySelector("summary") && pass.open) pass.querySelector("[data-digit]").focus();
  };
  addEventListener("keydown", press, { signal: ended });
}
