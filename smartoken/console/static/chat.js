"use strict";
// The playground's chat: what the model thinks and says as it comes, then what it took and cost.
(() => {
  const { words, model, facts, make, usd, paid, call, events, add, fault, ms, busy, form, prompt, talk, Refused } = window.play ?? {};
  if (!model) return;
  let said = [], running = null;
  const field = (name) => document.getElementById(`f-${name}`).value.trim();

  const shown = () => {
    const { input_u, output_u } = facts();
    document.getElementById("model-slug").textContent = model.value;
    document.getElementById("model-price").textContent = `${usd(input_u)} → ${usd(output_u)} / 1M`;
  };
  model.addEventListener("change", shown);
  shown();
  if (matchMedia("(max-width: 56rem)").matches) document.querySelector(".knobs").open = false;
  if (!form) return;

  // One answer on the page: thought and text are drawn at most once a frame.
  const answer_box = () => {
    const item = make("div", "said theirs"), text = make("div", "md typing"), thought = make("details", "thought"), inner = make("div"), meta = make("p", "meta");
    const state = { text: "", thought: "", stages: [], item, drawn: 0 };
    thought.append(make("summary", "", words.thinking), inner);
    thought.hidden = true;
    item.append(thought, text, meta);
    const draw = () => {
      state.drawn = 0;
      const low = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;
      text.replaceChildren(window.markdown(state.text, words));
      thought.hidden = !state.thought;
      inner.textContent = state.thought;
      if (low) talk.scrollTop = talk.scrollHeight;
    };
    state.soon = () => { state.drawn ||= requestAnimationFrame(draw); };
    state.end = (facts_line) => {
      cancelAnimationFrame(state.drawn);
      draw();
      text.classList.remove("typing");
      for (const one of facts_line) meta.append(make("span", "", one));
      if (state.stages.length) {
        const stages = make("details", "thought"), pre = make("div", "mono small");
        pre.textContent = state.stages.map((stage) => Object.entries(stage).map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join("  ")).join("\n");
        stages.append(make("summary", "", words.stages), pre);
        item.insertBefore(stages, meta);
      }
      talk.scrollTop = talk.scrollHeight;
    };
    return state;
  };

  const ask = async (signal, box) => {
    const begun = performance.now();
    const system = field("system"), temperature = field("temperature"), most = field("max-tokens");
    const json = {
      model: model.value, stream: true, stream_options: { include_usage: true },
      messages: [...(system ? [{ role: "system", content: system }] : []), ...said],
      ...(temperature && { temperature: Number(temperature) }), ...(most && { max_tokens: Number(most) }),
    };
    const answer = await call("/v1/chat/completions?cost=1", { json, signal });
    let first = 0, usage = null;
    for await (const event of events(answer)) {
      if (event.error) throw new Refused(event.error.message, answer.status, answer.headers.get("X-Request-Id"));
      const delta = event.choices?.[0]?.delta ?? {};
      if (!first && (delta.content || delta.reasoning_content || delta.reasoning)) first = performance.now() - begun;
      box.text += delta.content ?? "";
      box.thought += delta.reasoning_content ?? delta.reasoning ?? "";
      if (Array.isArray(event.thinking)) box.stages = event.thinking;
      if (event.usage) usage = event.usage;
      box.soon();
    }
    const line = [`${words.first} ${ms(first)}`, `${words.all} ${ms(performance.now() - begun)}`];
    if (usage) line.unshift(`${usage.prompt_tokens} → ${usage.completion_tokens} ${words.tokens}`);
    if (usage?.cost_micro_usd !== undefined) {
      line.unshift(`${words.cost} ${usd(usage.cost_micro_usd)}`);
      paid(usage.cost_micro_usd);
    }
    return line;
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = prompt.value.trim();
    if (!text || running) return;
    running = new AbortController();
    const mine = make("div", "said mine", text), box = answer_box();
    mine.prepend(make("span", "sr", `${words.you}: `));
    said.push({ role: "user", content: text });
    add(mine, box.item);
    prompt.value = "";
    prompt.style.height = "";
    busy(true);
    try {
      box.end(await ask(running.signal, box));
      said.push({ role: "assistant", content: box.text });
    } catch (error) {
      box.end([]);
      box.item.append(fault(error));
      if (box.text) said.push({ role: "assistant", content: box.text }); else said.pop();
    } finally {
      running = null;
      busy(false);
      prompt.focus();
    }
  });
  document.getElementById("stop").addEventListener("click", () => running?.abort());
  document.getElementById("clear").addEventListener("click", () => { running?.abort(); said = []; talk.replaceChildren(); prompt.focus(); });
})();
