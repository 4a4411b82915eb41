"use strict";
// What the console's pages need beyond HTML and htmx: theme, menu, copying, confirmations, local times, charts.
(() => {
  const root = document.documentElement;
  const keep = (name, value) => {
    document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax` + (location.protocol === "https:" ? "; secure" : "");
  };
  const dark = () => root.dataset.theme === "dark"
    || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);

  const acts = {
    theme() { root.dataset.theme = dark() ? "light" : "dark"; keep("theme", root.dataset.theme); redraw(); },
    language(button) { keep("lang", button.dataset.lang); location.reload(); },
    menu(button) {
      const open = document.querySelector(".frame").classList.toggle("open");
      button.setAttribute("aria-expanded", open);
      if (open) document.querySelector(".side a").focus();
    },
    save(button) {
      const link = document.createElement("a");
      const lines = document.querySelector(button.dataset.from).textContent.trim().split("\n").filter((line) => line.trim());
      link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
      link.download = button.dataset.name;
      link.click();
      URL.revokeObjectURL(link.href);
    },
    async copy(button) {
      await navigator.clipboard.writeText(document.querySelector(button.dataset.from).textContent.trim());
      const label = button.querySelector("span");
      const before = label.textContent;
      label.textContent = button.dataset.done;
      setTimeout(() => { label.textContent = before; }, 1600);
    },
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (button) { acts[button.dataset.act](button); return; }
    const frame = document.querySelector(".frame.open");
    if (frame && !event.target.closest(".side")) frame.classList.remove("open");
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelector(".frame.open")?.classList.remove("open");
  });
  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm || event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  }, true);
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
    if (event.target.matches("[data-shows]")) shows(event.target);
  });

  // A choice that shows only the fields that belong to it: data-shows on the select, data-for="a b" on the fields.
  const shows = (select) => {
    for (const part of select.form.querySelectorAll("[data-for]")) {
      part.hidden = !part.dataset.for.split(" ").includes(select.value);
    }
  };

  const times = (within) => {
    const form = new Intl.DateTimeFormat(root.lang, { dateStyle: "medium", timeStyle: "medium" });
    for (const time of within.querySelectorAll("time[datetime]")) {
      time.title = time.getAttribute("datetime");
      time.textContent = form.format(new Date(time.getAttribute("datetime")));
    }
  };

  const charts = new Map();
  const resolve = (name) => {                       // light-dark() is resolved by the browser, not by us
    const probe = document.createElement("i");
    probe.className = "probe";
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  const drawn = (box) => {
    const { days, series, unit } = JSON.parse(box.dataset.chart);
    const ink = resolve("--muted"), line = resolve("--line");
    const stacked = series.map((one, at) => one.values.map((value, day) =>
      value + series.slice(0, at).reduce((sum, below) => sum + below.values[day], 0)));
    const short = (value) => unit === "$" ? "$" + short_number(value) : short_number(value);
    const options = {
      width: box.clientWidth, height: box.clientHeight, padding: [12, 8, 0, 0],
      cursor: { points: { size: 7 }, y: false }, legend: { show: false },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),     // days are UTC's: marks stand at its midnights
      scales: { x: { time: true, range: (_, low, high) => [low - 43200, high + 43200] }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [
        { stroke: ink, grid: { show: false }, ticks: { show: false }, space: 64, size: 32, font: "12px system-ui",
          values: (_, marks) => marks.map((mark) => new Intl.DateTimeFormat(root.lang, { month: "short", day: "numeric", timeZone: "UTC" }).format(mark * 1000)) },
        { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { show: false }, size: 68, font: "12px system-ui",
          values: (_, marks) => marks.map(short) },
      ],
      series: [{}, ...series.map((one, at) => ({ label: one.name, stroke: resolve(`--s${at % 6}`), fill: resolve(`--s${at % 6}`),
        width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.68, 26], radius: at === series.length - 1 ? 0.12 : 0 }) })).reverse()],
    };
    box.replaceChildren();
    charts.set(box, new uPlot(options, [days, ...stacked.slice().reverse()], box));
  };
  const short_number = (value) => new Intl.NumberFormat(root.lang, { notation: "compact", maximumSignificantDigits: 3 }).format(value);
  const redraw = () => { for (const box of charts.keys()) if (box.isConnected) drawn(box); else charts.delete(box); };
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => { redraw(); reach(document); }, 120); });

  // A table that is wider than its place is scrolled by keyboard as well.
  const reach = (within) => {
    for (const part of within.querySelectorAll(".scroll")) {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0; else part.removeAttribute("tabindex");
    }
  };

  const dress = (within) => {
    reach(within);
    times(within);
    if (window.uPlot) within.querySelectorAll(".chart[data-chart]").forEach(drawn);
    within.querySelectorAll("[data-shows]").forEach(shows);
  };
  document.addEventListener("DOMContentLoaded", () => dress(document));
  document.addEventListener("htmx:afterSwap", (event) => dress(event.detail.elt));
})();
