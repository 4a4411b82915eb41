"use strict";
// Markdown into a document fragment. Safe by the way it is made: only elements that are named here, every text as a
// text node, no attribute but the address of a link with http, https or mailto. Pictures become links: nothing of
// another site is fetched because a model wrote its address.
window.markdown = (() => {
  const make = (name, text) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const INLINE = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|!?\[([^\]\n]*)\]\(\s*<?([^\s)>]+)>?(?:\s+"[^"]*")?\s*\)|(\*\*|__)(?=\S)([\s\S]*?\S)\5|(\*|_)(?=\S)([^*_\n]*?[^\s*_])\7(?!\w)|~~(?=\S)([\s\S]*?\S)~~|(https?:\/\/[^\s<>"')\]]+)/g;
  const anchor = (address, label) => {
    let url;
    try { url = new URL(address); } catch { return document.createTextNode(label); }
    if (!["http:", "https:", "mailto:"].includes(url.protocol)) return document.createTextNode(label);
    const link = make("a", label);
    link.href = url.href;
    link.rel = "noopener noreferrer nofollow";
    link.target = "_blank";
    return link;
  };
  const inline = (into, text, depth = 0) => {
    let from = 0;
    const nested = (name, inner) => {
      const element = make(name);
      if (depth < 6) inline(element, inner, depth + 1); else element.textContent = inner;
      return element;
    };
    for (const found of text.matchAll(INLINE)) {
      into.append(text.slice(from, found.index));
      from = found.index + found[0].length;
      if (found[1]) into.append(make("code", found[2].trim()));
      else if (found[4] !== undefined) into.append(anchor(found[4], found[3] || found[4]));
      else if (found[5]) into.append(nested("strong", found[6]));
      else if (found[7]) into.append(nested("em", found[8]));
      else if (found[9] !== undefined) into.append(nested("del", found[9]));
      else into.append(anchor(found[10], found[10]));
    }
    into.append(text.slice(from));
    return into;
  };
  const lines_of = (into, lines) => {
    lines.forEach((line, at) => { if (at) into.append(make("br")); inline(into, line); });
    return into;
  };

  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const table = (head, rows) => {
    const box = make("div"), whole = make("table"), top = make("tr"), body = make("tbody"), thead = make("thead");
    box.className = "scroll";
    for (const cell of cells(head)) top.append(inline(make("th"), cell));
    for (const row of rows) {
      const line = make("tr");
      for (const cell of cells(row)) line.append(inline(make("td"), cell));
      body.append(line);
    }
    thead.append(top);
    whole.append(thead, body);
    box.append(whole);
    return box;
  };
  const code = (language, text, words) => {
    const box = make("div"), bar = make("header"), button = make("button", words.copy), pre = make("pre");
    box.className = "block";
    button.type = "button";
    button.className = "ghost small";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text);
      button.textContent = words.copied;
      setTimeout(() => { button.textContent = words.copy; }, 1600);
    });
    bar.append(make("span", language || words.code), button);
    pre.tabIndex = 0;
    pre.append(make("code", text));
    box.append(bar, pre);
    return box;
  };

  const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
  const list = (lines) => {
    const ordered = /\d/.test(ITEM.exec(lines[0])[2]);
    const whole = make(ordered ? "ol" : "ul");
    if (ordered) whole.start = Number.parseInt(ITEM.exec(lines[0])[2], 10);
    const indent = ITEM.exec(lines[0])[1].length;
    let item = null, inner = [];
    const close = () => {
      if (!item) return;
      const first = inner.findIndex((line) => ITEM.test(line));
      const plain = first < 0 ? inner : inner.slice(0, first);
      lines_of(item, plain.map((line) => line.trim()).filter(Boolean));
      if (first >= 0) item.append(list(inner.slice(first)));
      whole.append(item);
    };
    for (const line of lines) {
      const found = ITEM.exec(line);
      if (found && found[1].length <= indent) { close(); item = make("li"); inner = [found[3]]; } else inner.push(line);
    }
    close();
    return whole;
  };

  const blocks = (into, text, words, depth = 0) => {
    const lines = text.split("\n");
    let at = 0;
    const until = (stop) => { const begun = at; while (at < lines.length && !stop(lines[at])) at += 1; return lines.slice(begun, at); };
    while (at < lines.length) {
      const line = lines[at];
      const fence = /^\s{0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/.exec(line);
      const heading = /^\s{0,3}(#{1,6})\s+(.*?)#*\s*$/.exec(line);
      if (!line.trim()) at += 1;
      else if (fence) {
        at += 1;
        const inner = until((one) => one.trim().startsWith(fence[1]) && !one.trim().slice(fence[1].length).trim());
        at += 1;
        into.append(code(fence[2], inner.join("\n"), words));
      } else if (heading) { into.append(inline(make(`h${Math.min(4, heading[1].length)}`), heading[2])); at += 1; }
      else if (/^\s{0,3}([-*_])(\s*\1){2,}\s*$/.test(line)) { into.append(make("hr")); at += 1; }
      else if (/^\s{0,3}>/.test(line)) {
        const inner = until((one) => !/^\s{0,3}>/.test(one)).map((one) => one.replace(/^\s{0,3}> ?/, ""));
        const quote = make("blockquote");
        if (depth < 6) blocks(quote, inner.join("\n"), words, depth + 1); else lines_of(quote, inner);
        into.append(quote);
      } else if (ITEM.test(line)) {
        const [, indent, mark] = ITEM.exec(line);
        const other = (one) => { const found = ITEM.exec(one); return found && found[1].length <= indent.length && /\d/.test(found[2]) !== /\d/.test(mark); };
        const inner = until((one) => other(one) || (!one.trim() ? !(lines[at + 1] && (ITEM.test(lines[at + 1]) || /^\s{2,}\S/.test(lines[at + 1]))) : !ITEM.test(one) && !/^\s{2,}/.test(one)));
        into.append(list(inner));
      } else if (line.includes("|") && /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/.test(lines[at + 1] || "")) {
        at += 2;
        into.append(table(line, until((one) => !one.includes("|"))));
      } else {
        const first = at;
        const inner = until((one) => at > first && (!one.trim() || /^\s{0,3}(#{1,6}\s|>|`{3}|~{3})/.test(one) || ITEM.test(one)));
        into.append(lines_of(make("p"), inner));
      }
    }
    return into;
  };
  return (text, words) => blocks(document.createDocumentFragment(), text.replace(/\r\n?/g, "\n"), words);
})();
