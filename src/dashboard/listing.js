// What the lists have in common: fields to search by, and pages.

import { attribute, h, text } from "./dom.js";
import { count, plural } from "./format.js";

export const PAGE = 50;

export const RANGES = [
  ["", "Any time"],
  ["1h", "In the last hour"],
  ["24h", "In the last 24 h"],
  ["7d", "In the last 7 days"],
];
const SECONDS = { "1h": 3600, "24h": 86400, "7d": 604800 };

/** What a list is filtered by: `own`, and what its address says. */
export function filtersOf(app, own) {
  const filters = { search: "", namespace: "", ...own, offset: 0, ...app.query() };
  filters.offset = Number(filters.offset) || 0;
  return filters;
}

/** A field to search by; it asks once nothing has been typed for a moment. */
export function searchInput(id, placeholder, filters, ask) {
  const soon = typed(ask);
  const input = () => soon({ search: node.value.trim() });
  const node = h("input", { type: "search", id, placeholder, value: filters.search, input });
  return node;
}

/** The moment that such a range begins at, by the service's clock. */
export function since(range, now) {
  const seconds = SECONDS[range];
  return seconds && new Date(new Date(now).getTime() - seconds * 1000).toISOString();
}

/** A field for a moment, in the time zone of the browser; the address has it in UTC. */
export function momentInput(id, value, change) {
  const local = (moment) => new Date(moment - moment.getTimezoneOffset() * 60_000);
  const node = h("input", {
    type: "datetime-local",
    id,
    value: value && local(new Date(value)).toISOString().slice(0, 16),
    change: () => change(node.value && new Date(node.value).toISOString()),
  });
  return node;
}

/** The head of a column that the service sorts by. */
function sortHeader(key, label, click) {
  const sign = h("span", { class: "sort", "aria-hidden": "true" });
  const node = h(
    "th",
    { scope: "col" },
    h("button", { type: "button", class: "quiet", click }, label, sign),
  );
  const update = ({ sort, order }) => {
    attribute(node, "aria-sort", sort === key && (order === "asc" ? "ascending" : "descending"));
    text(sign, sort === key ? (order === "asc" ? "↑" : "↓") : "");
  };
  return { node, update };
}

/** The heads of all columns; a second click turns the order round. */
export const sortHeaders = (columns, filters, ask) =>
  columns.map(([key, label, first]) =>
    sortHeader(key, label, () => {
      const turned = filters.order === "asc" ? "desc" : "asc";
      ask({ sort: key, order: filters.sort === key ? turned : first });
    }),
  );

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
