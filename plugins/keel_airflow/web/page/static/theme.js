"use strict";
// Runs before anything is drawn. In Airflow's frame the page takes Airflow's theme and background, elsewhere the system's.
{
  const root = document.documentElement;
  const framed = parent !== window;
  root.classList.toggle("framed", framed);
  if (framed) {
    try {
      const outer = parent.document.documentElement;
      const take = () => {
        const dark = outer.classList.contains("dark") || outer.dataset.theme === "dark";
        root.dataset.theme = dark ? "dark" : "light";
        root.style.setProperty("--bg", getComputedStyle(parent.document.body).backgroundColor);
      };
      new MutationObserver(take).observe(outer, { attributes: true, attributeFilter: ["class", "data-theme"] });
      take();
    } catch {
      // A frame of another site's page: the system's theme stays.
    }
  }
}
