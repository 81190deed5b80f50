"use strict";
// The page is whole without this: it adds the search of columns, opens what is folded for print, and tells a notebook
// how high the page is.
for (const block of document.querySelectorAll(".columns")) {
  const form = block.querySelector(".search");
  if (!form) continue;
  const [find, status, count] = ["input", "select", "output"].map((name) => form.querySelector(name));
  const rest = block.querySelector(".rest");
  const items = [
    ...[...block.querySelectorAll(".card")].map((card) => [card, card.querySelector("h3"), card.querySelector(".tag")]),
    ...(rest ? [...rest.querySelectorAll("tbody tr")].map((row) => [row, row.cells[0], row.cells[1]]) : []),
  ].map(([item, name, tag]) => [item, name.textContent.toLowerCase(), tag.textContent.trim()]);
  const filter = () => {
    const words = find.value.toLowerCase().trim();
    let found = 0;
    let folded = 0;
    for (const [item, name, tag] of items) {
      const fits = name.includes(words) && (!status.value || tag === status.value);
      item.hidden = !fits;
      found += fits;
      folded += fits && item.localName === "tr";
    }
    const searched = words || status.value;
    if (rest) {
      rest.hidden = searched && !folded;
      if (searched && folded) rest.open = true;
    }
    count.value = searched ? `${found.toLocaleString("en")} of ${items.length.toLocaleString("en")}` : "";
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
  const tell = () => parent.postMessage({ keelHeight: Math.ceil(document.body.getBoundingClientRect().height) }, "*");
  addEventListener("message", (event) => event.source === parent && tell());
  new ResizeObserver(tell).observe(document.body);
}
