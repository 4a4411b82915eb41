"use strict";
// What every mode of the playground needs: the key in this page's memory, calls of /v1, server-sent events, money.
window.play = (() => {
  const box = document.getElementById("play");
  if (!box) return null;
  const words = JSON.parse(box.dataset.words);
  const model = document.getElementById("f-model");
  const csrf = JSON.parse(document.body.getAttribute("hx-headers") || "{}")["X-CSRF-Token"];
  let key = "", ends = 0, spent_u = 0;

  const make = (name, cls, text) => {
    const element = document.createElement(name);
    if (cls) element.className = cls;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const usd = (amount_u) => {
    const amount = amount_u / 1e6;
    return amount === 0 ? "$0.00" : "$" + (amount >= 1 ? amount.toFixed(2) : amount.toFixed(6).replace(/0+$/, "").replace(/\.(\d?)$/, (_, digit) => `.${digit.padEnd(2, "0")}`));
  };
  const paid = (amount_u) => {
    spent_u += amount_u;
    document.getElementById("session-cost").textContent = usd(spent_u);
  };
  model.addEventListener("htmx:afterSwap", () => model.dispatchEvent(new Event("change")));    // what a search found
  const facts = () => JSON.parse(model.selectedOptions[0].dataset.facts);

  class Refused extends Error {
    constructor(message, status, trace) { super(message); this.status = status; this.trace = trace; }
  }
  const refused = async (answer) => {
    let said = "";
    try { said = (await answer.json()).error?.message ?? ""; } catch { said = ""; }
    return new Refused(said || `${words.failed} (${answer.status})`, answer.status, answer.headers.get("X-Request-Id"));
  };
  const fresh = async () => {
    const answer = await fetch("/playground/key", { method: "POST", headers: { "X-CSRF-Token": csrf }, redirect: "manual" });
    if (answer.type === "opaqueredirect") { location.href = "/sign-in?next=/playground"; throw new Refused("", 401); }
    if (!answer.ok) throw new Refused(`${words.failed} (${answer.status})`, answer.status, answer.headers.get("X-Request-Id"));
    const made = await answer.json();
    key = made.key;
    ends = made.exp_ms - 60_000;
  };
  // A call of the API. Another tab may have ended our key by asking for one of its own: then once more with a new one.
  const call = async (path, options = {}) => {
    for (let again = 0; ; again += 1) {
      if (!key || Date.now() > ends) await fresh();
      const headers = { ...options.headers, Authorization: `Bearer ${key}` };
      if (options.json) headers["Content-Type"] = "application/json";
      const answer = await fetch(path, { method: options.json ? "POST" : "GET", headers, signal: options.signal, body: options.json && JSON.stringify(options.json) });
      if (answer.status === 401 && !again) { key = ""; continue; }
      if (!answer.ok) throw await refused(answer);
      return answer;
    }
  };
  async function* events(answer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      rest += (value ?? "").replaceAll("\r", "");
      const parts = rest.split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
        if (data === "[DONE]") return true;
        if (data) yield JSON.parse(data);
      }
      if (done) return false;
    }
  }

  const talk = document.getElementById("talk");
  const add = (...elements) => {
    document.getElementById("blank")?.remove();
    talk.append(...elements);
    talk.scrollTop = talk.scrollHeight;
  };
  const fault = (error) => {
    const line = make("p", "fault", error.name === "AbortError" ? words.stopped : error instanceof TypeError ? words.lost : error.message);
    line.setAttribute("role", "alert");
    if (error.trace) line.append(make("br"), make("span", "small", `${words.trace} `), make("code", "small", error.trace));
    return line;
  };
  const ms = (value) => value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
  const busy = (on) => {
    document.getElementById("send").disabled = on;
    document.getElementById("stop").hidden = !on;
    talk.setAttribute("aria-busy", on);
  };
  const form = document.getElementById("composer"), prompt = document.getElementById("f-prompt");
  prompt?.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); }
  });
  prompt?.addEventListener("input", () => { prompt.style.height = ""; prompt.style.height = `${prompt.scrollHeight + 2}px`; });
  return { box, words, model, facts, make, usd, paid, call, events, add, fault, ms, busy, form, prompt, talk, Refused };
})();
