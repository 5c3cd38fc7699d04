// What the notes above a page say goes when it is over. Every page of a signed-in person runs this.

// The button that undoes a submission is offered for a few seconds.
plumbline.undoing = function undoing() {
  const form = document.querySelector("#notes .undo");
  if (!form) return;
  const end = setTimeout(() => {
    if (form.contains(document.activeElement)) document.querySelector("h1").focus();
    form.remove();
  }, form.dataset.seconds * 1000);
  form.addEventListener("submit", async (event) => {
    if (!plumbline.show) return;
    event.preventDefault();
    clearTimeout(end);
    await plumbline.save();
    const reply = await fetch(form.action, { method: "POST", body: new FormData(form) }).catch(() => null);
    if (reply) plumbline.show(reply);
    else plumbline.unreached();
  });
};
plumbline.undoing();

// What went wrong with a part of the page that looks after itself is over when its next answer is fine.
document.addEventListener("htmx:after:request", ({ detail }) => {
  if (detail.ctx.response.status < 400) document.querySelector("#notes > .alert")?.remove();
});
