// The model card's Markdown as elements: headings, paragraphs, lists, tables, code, emphasis,
// links. Nothing else.

import { h } from "./dom.js";

export function markdown(source) {
  const lines = source.split("\n");
  const blocks = [];
  while (lines.length > 0) {
    const line = lines[0];
    if (line.trim() === "") lines.shift();
    else if (line.startsWith("```")) blocks.push(code(lines));
    else if (/^#{1,6} /.test(line)) blocks.push(heading(lines.shift()));
    else if (line.startsWith("|")) blocks.push(table(take(lines, (next) => next.startsWith("|"))));
    else if (line.startsWith("- ")) blocks.push(list(take(lines, (next) => next.trim() !== "")));
    else blocks.push(h("p", {}, inline(take(lines, plain).join(" "))));
  }
  return blocks;
}

const plain = (line) => line.trim() !== "" && !/^(#{1,6} |\||- |```)/.test(line);

function take(lines, belongs) {
  const taken = [lines.shift()];
  while (lines.length > 0 && belongs(lines[0])) taken.push(lines.shift());
  return taken;
}

function code(lines) {
  lines.shift();
  const taken = [];
  while (lines.length > 0 && !lines[0].startsWith("```")) taken.push(lines.shift());
  lines.shift();
  return h("pre", { tabindex: "0" }, h("code", {}, taken.join("\n")));
}

function heading(line) {
  const [, marks, title] = /^(#+) (.*)$/.exec(line);
  return h(`h${Math.min(marks.length + 1, 6)}`, {}, inline(title));
}

function list(lines) {
  const items = [];
  for (const line of lines) {
    if (line.startsWith("- ")) items.push(line.slice(2));
    else items.push(`${items.pop()} ${line.trim()}`);
  }
  return h(
    "ul",
    {},
    items.map((item) => h("li", {}, inline(item))),
  );
}

function table(lines) {
  const cells = (line) =>
    line
      .replace(/^\||\|\s*$/g, "")
      .split("|")
      .map((cell) => cell.trim());
  const [head, rule, ...rows] = lines.map(cells);
  const align = (column) => (rule[column]?.endsWith(":") ? "number" : "");
  const row = (tag) => (line) =>
    h(
      "tr",
      {},
      line.map((cell, column) => h(tag, { class: align(column) }, inline(cell))),
    );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" },
    h("table", {}, h("thead", {}, row("th")(head)), h("tbody", {}, rows.map(row("td")))),
  );
}

function inline(source) {
  const parts = source.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]+\))/);
  return parts.map((part) => {
    if (/^`.+`$/.test(part)) return h("code", {}, part.slice(1, -1));
    if (/^\*\*.+\*\*$/.test(part)) return h("strong", {}, part.slice(2, -2));
    const link = /^\[(.+)\]\((.+)\)$/.exec(part);
    if (!link) return part;
    const [, label, target] = link;
    return /^https?:\/\//.test(target) ? h("a", { href: target, rel: "noreferrer" }, label) : label;
  });
}
