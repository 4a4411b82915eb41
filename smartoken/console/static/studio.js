"use strict";
// The playground's pictures, films and speech: what it will cost, then the making, then the result.
(() => {
  const { box, words, model, facts, make, usd, paid, call, add, fault, ms, busy, form, prompt, talk, Refused } = window.play ?? {};
  if (!model) return;
  const mode = box.dataset.mode;
  const POLL_MS = 2000, FILMS = "/v1/videos/generations";
  let running = null;
  const field = (name) => document.getElementById(`f-${name}`);
  const fill = (name, values, label = (one) => one) => {
    const select = field(name);
    if (!select) return;
    select.replaceChildren(...values.map((one) => { const option = make("option", "", label(one)); option.value = one; return option; }));
    select.closest("[data-knob]")?.toggleAttribute("hidden", !values.length);
  };

  const estimate = () => {
    const { prices } = facts();
    const price_u = {
      images: () => (prices[field("size").value] ?? prices[""] ?? 0) * Number(field("count").value),
      videos: () => (prices[field("resolution").value] ?? 0) * Number(field("duration").value),
      speech: () => Math.ceil((prices[""] ?? 0) * [...(prompt?.value ?? "")].length / 1e6),
    }[mode]();
    const place = document.getElementById("estimate");
    if (place) place.textContent = `${mode === "speech" ? `${words.about} ` : ""}${usd(price_u)}`;
  };
  const shown = () => {
    const one = facts();
    document.getElementById("model-slug").textContent = model.value;
    fill("size", one.sizes);
    fill("resolution", one.resolutions);
    fill("duration", one.durations, (seconds) => `${seconds} s`);
    fill("ratio", one.ratios);
    estimate();
  };
  model.addEventListener("change", shown);
  document.querySelector(".settings").addEventListener("change", estimate);
  prompt?.addEventListener("input", estimate);
  shown();
  if (!form) return;

  const figure = (name, address, label) => {
    const whole = make("figure"), inner = make(name);
    inner.src = address;
    if (name === "img") inner.alt = label; else { inner.controls = true; inner.setAttribute("aria-label", label); }
    whole.append(inner);
    return whole;
  };
  const pictures = async (text, signal, item) => {
    const size = field("size").value;
    const answer = await call("/v1/images/generations?cost=1", { signal, json: { model: model.value, prompt: text, n: Number(field("count").value), ...(size && { size }) } });
    const made = await answer.json();
    const results = make("div", made.data.length > 1 ? "results" : "results one");
    for (const one of made.data) results.append(figure("img", one.url ?? `data:image/png;base64,${one.b64_json}`, `${words.picture}: ${text}`));
    item.append(results);
    return made.usage?.cost_micro_usd;
  };
  const film = async (text, signal, item, state) => {
    const begun = performance.now();
    const ratio = field("ratio").value;
    const json = { model: model.value, prompt: text, resolution: field("resolution").value, duration: Number(field("duration").value), ...(ratio && { ratio }) };
    let job = await (await call(`${FILMS}?cost=1`, { json, signal, headers: { Prefer: "respond-async" } })).json();
    while (["queued", "in_progress"].includes(job.status)) {
      state.textContent = `${job.status === "queued" ? words.waiting : words.working} · ${Math.round((performance.now() - begun) / 1000)} s`;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      if (signal.aborted) await call(`${FILMS}/${job.id}/cancel`, { json: {} });
      job = await (await call(`${FILMS}/${job.id}?cost=1`)).json();
    }
    if (!job.data?.length) throw new Refused(job.error?.message ?? words.failed, 200);
    const results = make("div", "results one");
    for (const one of job.data) results.append(figure("video", one.url, `${words.film}: ${text}`));
    item.append(results);
    return job.usage?.cost_micro_usd;
  };
  const speech = async (text, signal, item) => {
    const answer = await call("/v1/audio/speech", { signal, json: { model: model.value, input: text, voice: field("voice").value.trim() || "alloy" } });
    const results = make("div", "results one");
    results.append(figure("audio", URL.createObjectURL(await answer.blob()), `${words.sound}: ${text}`));
    item.append(results);
    return undefined;                // the sound is the whole answer: what it cost stands in the usage row
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = prompt.value.trim();
    if (!text || running) return;
    running = new AbortController();
    const begun = performance.now();
    const mine = make("div", "said mine", text), item = make("div", "said theirs"), progress = make("progress"), state = make("p", "meta", words.working);
    progress.setAttribute("aria-label", words.working);
    item.append(progress, state);
    add(mine, item);
    busy(true);
    try {
      const cost_u = await { images: pictures, videos: film, speech }[mode](text, running.signal, item, state);
      state.replaceChildren(make("span", "", `${words.all} ${ms(performance.now() - begun)}`));
      if (cost_u !== undefined) { state.prepend(make("span", "", `${words.cost} ${usd(cost_u)}`)); paid(cost_u); }
      item.append(state);
    } catch (error) {
      state.remove();
      item.append(fault(error));
    } finally {
      progress.remove();
      running = null;
      busy(false);
      talk.scrollTop = talk.scrollHeight;
      prompt.focus();
    }
  });
  document.getElementById("stop").addEventListener("click", () => running?.abort());
})();
