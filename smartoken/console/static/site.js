"use strict";
// The market: tabs of code, the address kept in step with the filters, the person's sheet closed by a click elsewhere.
(() => {
  const choose = (tab) => {
    for (const one of tab.parentElement.querySelectorAll("[role=tab]")) {
      const on = one === tab;
      one.setAttribute("aria-selected", on);
      one.tabIndex = on ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")).hidden = !on;
    }
  };
  document.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) choose(tab);
    const sheet = document.querySelector("details.person[open]");
    if (sheet && !sheet.contains(event.target)) sheet.open = false;
  });
  document.addEventListener("keydown", (event) => {
    const sheet = document.querySelector("details.person[open]");
    if (event.key === "Escape" && sheet) { sheet.open = false; sheet.querySelector("summary").focus(); }
    const tab = event.target.closest?.("[role=tab]");
    if (!tab || !["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
    const tabs = [...tab.parentElement.querySelectorAll("[role=tab]")];
    const at = tabs.indexOf(tab);
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: -1 }[event.key];
    const one = tabs.at(next % tabs.length);
    choose(one);
    one.focus();
    event.preventDefault();
  });
  document.querySelector(".places [aria-current]")?.scrollIntoView({ inline: "nearest", block: "nearest" });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "found") return;
    const chosen = new URLSearchParams(new FormData(document.getElementById("filter")));
    for (const [name, value] of [...chosen]) if (!value) chosen.delete(name);
    history.replaceState(null, "", "/models" + (chosen.size ? `?${chosen}` : ""));
  });
})();
