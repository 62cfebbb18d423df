// What the lists have in common: fields to search by, and pages.

import { attribute, h, text } from "./dom.js";
import { count, plural } from "./format.js";

export const PAGE = 50;

export function select(id, options, value, change) {
  const node = h(
    "select",
    { id, change: () => change(node.value) },
    options.map(([key, label]) => h("option", { value: key, selected: key === value }, label)),
  );
  return node;
}

export const field = (label, input) =>
  h("div", { class: "field" }, h("label", { for: input.id }, label), input);

/** The namespaces that are watched, and the one that is asked for. */
export function namespaceSelect(id, app, filters, change) {
  const node = h("select", { id, change: () => change(node.value) });
  const update = () => {
    const names = ["", ...(app.config?.namespaces ?? [])];
    if (filters.namespace && !names.includes(filters.namespace)) names.push(filters.namespace);
    if (names.join() === [...node.options].map((option) => option.value).join()) return;
    node.replaceChildren(
      ...names.map((name) => h("option", { value: name }, name || "All namespaces")),
    );
    node.value = filters.namespace;
  };
  return { node, update };
}

/** Previous and next; `go` takes the offset of the page that is wanted. */
export function pager(filters, go) {
  const found = h("p", { class: "found", role: "status" });
  const step = (label, by) => {
    const click = () => go(Math.max(0, filters.offset + by));
    return h("button", { type: "button", click }, label);
  };
  const [back, on] = [step("Previous", -PAGE), step("Next", PAGE)];
  const update = (answer, one) => {
    const upto = answer.offset + answer.count;
    const shown = `${count(answer.offset + 1)}–${count(upto)} of ${plural(answer.found, one)}`;
    const ofAll = answer.found < answer.total ? ` (${count(answer.total)} in all)` : "";
    text(found, answer.count === 0 ? "" : shown + ofAll);
    attribute(back, "disabled", answer.offset === 0);
    attribute(on, "disabled", upto >= answer.found);
  };
  return { node: h("div", { class: "pager" }, found, back, on), update };
}

/** Calls `ask` once nothing has been typed for a moment. */
export function typed(ask) {
  let pause;
  return (change) => {
    clearTimeout(pause);
    pause = setTimeout(() => ask(change), 200);
  };
}
