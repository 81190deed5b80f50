"use strict";
// Moving around: links, the heatmap's keys, a sign that something loads. The pages are whole without it.
{
  const root = document.body.dataset.root;
  const airflow = document.body.dataset.airflow;
  const framed = document.documentElement.classList.contains("framed");

  const isOurs = (url) => url.origin === location.origin && url.pathname.startsWith(`${root}/`);
  const isAirflows = (url) => url.origin === location.origin && url.pathname.startsWith(`${airflow}/`) && !isOurs(url);

  // Airflow's frame lets a link neither replace Airflow's page nor open a window. Airflow's own router goes there.
  const leaveFrame = (url) => {
    parent.history.pushState(null, "", url.href);
    parent.dispatchEvent(new PopStateEvent("popstate", { state: parent.history.state }));
  };

  const showAddress = (link) => {
    const dialog = document.getElementById("outside");
    dialog.querySelector("input").value = link.href;
    dialog.showModal();
    dialog.querySelector("input").select();
  };

  let sign;
  const showLoading = () => {
    clearTimeout(sign);
    sign = setTimeout(() => document.body.classList.add("loading"), 150);
  };
  addEventListener("pageshow", () => {
    clearTimeout(sign);
    document.body.classList.remove("loading");
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const href = link.href.baseVal ?? link.href; // a link in a drawing has another kind of address
    const url = new URL(href, location.href);
    if (url.hash && url.pathname === location.pathname && url.search === location.search) return;
    if (isOurs(url)) {
      showLoading();
    } else if (framed && isAirflows(url) && !url.pathname.startsWith(`${airflow}/auth/`)) {
      event.preventDefault();
      leaveFrame(url);
    } else if (framed && url.origin !== location.origin) {
      event.preventDefault();
      showAddress(link);
    }
  });

  for (const button of document.querySelectorAll("dialog [data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  document.getElementById("copy").addEventListener("click", async (event) => {
    const field = document.querySelector("#outside input");
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      event.target.textContent = "Copied";
    } catch {
      event.target.textContent = "Press Ctrl+C";
    }
  });

  // One stop for the Tab key in a heatmap; the arrows go from cell to cell.
  for (const map of document.querySelectorAll(".heatmap svg")) {
    const cells = [...map.querySelectorAll("a")];
    if (!cells.length) continue;
    const places = cells.map((cell) => {
      const box = cell.getBBox();
      return [cell, box.x + box.width / 2, box.y + box.height / 2];
    });
    cells.forEach((cell, i) => cell.setAttribute("tabindex", i ? "-1" : "0"));
    const near = (from, dx, dy) => {
      const [, x, y] = places.find(([cell]) => cell === from);
      const along = ([, u, v]) => (dx ? (u - x) * dx : (v - y) * dy);
      const across = ([, u, v]) => Math.abs(dx ? v - y : u - x);
      return places
        .filter((place) => along(place) > 1 && across(place) < 2)
        .sort((a, b) => along(a) - along(b))[0]?.[0];
    };
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    map.addEventListener("keydown", (event) => {
      const from = event.target.closest("a");
      const to = from && steps[event.key] && near(from, ...steps[event.key]);
      if (!to) return;
      event.preventDefault();
      from.setAttribute("tabindex", "-1");
      to.setAttribute("tabindex", "0");
      to.focus();
    });
  }
}
