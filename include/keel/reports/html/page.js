"use strict";
// The page is whole without this: it adds the search of columns, opens what is folded for print, and tells a notebook
// how high the page is.
for (const block of document.querySelectorAll(".columns")) {
  const form = block.querySelector(".search");
  if (!form) continue;
  const [find, status, output] = ["input", "select", "output"].map((name) => form.querySelector(name));
  const folds = [...block.querySelectorAll(".rest")];
  const items = [...block.querySelectorAll(".card, .rest tbody tr")].map((item) => {
    const [name, tag] = item.cells ?? [item.querySelector("h3"), item.querySelector(".tag")];
    return [item, name.textContent.toLowerCase(), tag.textContent.trim(), item.closest(".rest")];
  });
  const filter = () => {
    const words = find.value.toLowerCase().trim();
    const searched = words || status.value;
    const found = new Map(folds.map((fold) => [fold, 0]));
    let count = 0;
    for (const [item, name, tag, fold] of items) {
      const fits = name.includes(words) && (!status.value || tag === status.value);
      item.hidden = !fits;
      count += fits;
      if (fold && fits) found.set(fold, found.get(fold) + 1);
    }
    for (const fold of folds) {
      fold.hidden = !found.get(fold);
      fold.open = searched && !fold.hidden;
    }
    output.value = searched ? `${count.toLocaleString("en")} of ${items.length.toLocaleString("en")}` : "";
  };
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
}
const folded = [];
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open])")) {
    part.open = true;
    folded.push(part);
  }
});
addEventListener("afterprint", () => {
  for (const part of folded.splice(0)) part.open = false;
});
if (parent !== window) {
  const postHeight = () => parent.postMessage({ keelHeight: Math.ceil(document.body.getBoundingClientRect().height) }, "*");
  addEventListener("message", (event) => event.source === parent && postHeight());
  new ResizeObserver(postHeight).observe(document.body);
}
