// In a list whose first box says "all": choosing something else unticks it, and ticking it takes the rest back.
document.addEventListener("input", ({ target }) => {
  const list = target.closest?.("[data-some-or-all]");
  if (!list || !(target.type === "checkbox" ? target.checked : target.value)) return;
  const meansAll = target.name === "all";
  for (const field of list.querySelectorAll("input")) {
    if ((field.name === "all") === meansAll) continue;
    if (field.type === "checkbox") field.checked = false;
    else field.value = "";
  }
});
