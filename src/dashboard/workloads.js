// The workloads: what each asks for, needs and saves, what was done to it last, and what holds it
// back; as many as there are, searched and sorted by the service.

import { get } from "./api.js";
import { RESOURCES } from "./decision.js";
import { attribute, h, keyed, text } from "./dom.js";
import { ago, amount, count, plural } from "./format.js";
import {
  field,
  filtersOf,
  namespaceSelect,
  PAGE,
  pager,
  RANGES,
  searchInput,
  select,
  since,
  sortHeaders,
} from "./listing.js";
import { address, showWorkload } from "./workload.js";

const COLUMNS = [
  ["name", "Workload", "asc"],
  ["cpu", "CPU", "desc"],
  ["memory", "Memory", "desc"],
  ["last_change", "Last change", "desc"],
  ["kills", "Restarts", "desc"],
];
const SORTS = [
  ["name asc", "Namespace, name"],
  ["at_risk desc", "At risk"],
  ["saved_cpu desc", "Saved CPU"],
  ["saved_memory desc", "Saved memory"],
  ["cpu desc", "CPU used"],
  ["memory desc", "Memory used"],
  ["last_change desc", "Last change"],
  ["kills desc", "Restarts and kills"],
  ["replicas desc", "Replicas"],
];
const SHOW = [
  ["", "All"],
  ["at_risk", "At risk"],
  ["changed", "Changed"],
  ["held_back", "Held back"],
];
const FIELDS = {
  cpu: { request: "cpu_request", limit: "cpu_limit", used: "cpu_cores" },
  memory: { request: "memory_request_mb", limit: "memory_limit_mb", used: "memory_mb" },
};

export function workloads(app) {
  const filters = filtersOf(app, { show: "", range: "", sort: "name", order: "asc" });
  const search = searchInput("workloads-search", "Namespace, kind or name", filters, ask);
  const namespaces = namespaceSelect("workloads-namespace", app, filters, (value) =>
    ask({ namespace: value }),
  );
  const show = select("workloads-show", SHOW, filters.show, (value) => ask({ show: value }));
  const range = select("workloads-range", RANGES, filters.range, (value) => ask({ range: value }));
  const sort = select("workloads-sort", SORTS, `${filters.sort} ${filters.order}`, (value) => {
    const [key, order] = value.split(" ");
    ask({ sort: key, order });
  });
  const headers = sortHeaders(COLUMNS, filters, ask);
  const body = h("tbody", {});
  const update = keyed(body, ({ namespace, kind, name }) => `${namespace}/${kind}/${name}`, row);
  const table = h(
    "table",
    { class: "pods rows" },
    h("caption", { class: "spoken" }, "Workloads with sizes, savings and the last change"),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        headers.map((c) => c.node),
      ),
    ),
    body,
  );
  const empty = h("p", { class: "empty" }, "Loading the workloads …");
  const pages = pager(filters, (offset) => ask({ offset }));
  const node = h(
    "div",
    { class: "view" },
    h(
      "div",
      { class: "toolbar", role: "search" },
      field("Search", search),
      field("Namespace", namespaces.node),
      field("Show", show),
      field("Changed", range),
      field("Sort by", sort),
    ),
    h("section", { class: "panel flush" }, table, empty, pages.node),
  );

  function ask(change) {
    Object.assign(filters, { offset: 0 }, change);
    app.setQuery({
      ...filters,
      sort: filters.sort === "name" ? "" : filters.sort,
      order: filters.order === "asc" ? "" : filters.order,
      offset: filters.offset || "",
    });
    return app.refresh();
  }

  async function refresh() {
    namespaces.update();
    if (!app.connected) {
      update([]);
      attribute(table, "hidden", true);
      attribute(empty, "hidden", false);
      text(empty, "No workloads: no cluster is connected.");
      return;
    }
    const asked = JSON.stringify(filters);
    const { range: changed, ...query } = filters;
    const from = since(changed, app.statistics.timestamp);
    const answer = await get("workloads/overview", { ...query, since: from, limit: PAGE });
    // Another request came meanwhile: its answer is on the way.
    if (asked !== JSON.stringify(filters)) return;
    if (answer.count === 0 && answer.found > 0) return ask({ offset: 0 });
    update(answer.workloads.map((workload) => ({ ...workload, asOf: answer.timestamp })));
    attribute(table, "hidden", answer.count === 0);
    attribute(empty, "hidden", answer.count > 0);
    text(
      empty,
      answer.total === 0
        ? "There are no pods in the namespaces that are watched."
        : "No workload fits the search.",
    );
    pages.update(answer, "workload");
    for (const column of headers) column.update(filters);
    const value = `${filters.sort} ${filters.order}`;
    if (sort.value !== value) sort.value = value;
  }

  return {
    title: "Workloads",
    node,
    refresh,
    opened: (namespace, kind, name) => showWorkload(namespace, kind, name),
  };
}

function row(workload) {
  const { namespace, kind, name } = workload;
  const where = h("small", {});
  const risk = h("small", { class: "risky" });
  const sizes = RESOURCES.map(([key, label]) => sizeCell(key, label));
  const when = h("time", {});
  const what = h("p", { class: "why" });
  const held = h("p", { class: "why held" });
  const restarts = h("td", { class: "number", "data-label": "Restarts" });
  const node = h(
    "tr",
    {},
    h("th", { scope: "row" }, h("a", { href: address(workload) }, name), where, risk),
    sizes.map((cell) => cell.node),
    h("td", { class: "decision" }, when, what, held),
    restarts,
  );
  const update = (now) => {
    text(where, `${namespace} · ${kind} · ${plural(now.replicas, "replica")}`);
    text(risk, now.at_risk > 0 ? `${count(now.at_risk)} at risk` : "");
    for (const cell of sizes) cell.update(now);
    const last = now.last_change;
    text(when, last ? ago(last.timestamp, now.asOf) : "not changed");
    attribute(when, "datetime", last?.timestamp);
    text(what, last ? `${last.what} (${last.course.replaceAll("_", " ")})` : "");
    text(held, now.held_back ?? "");
    attribute(node, "data-monitored", now.monitored > 0 ? null : "no");
    const killed = now.kills > 0 ? `, ${plural(now.kills, "kill")}` : "";
    text(restarts, `${count(now.restarts)}${killed}`);
  };
  return { node, update };
}

/** Template, now and needed as request / limit, what is used, and what is saved. */
function sizeCell(resource, label) {
  const { request, limit, used } = FIELDS[resource];
  const of = amount[resource];
  const asked = (value) => (value > 0 ? of(value) : "none");
  const size = (sums) => `${asked(sums[request])} / ${asked(sums[limit])}`;
  const lines = {
    template: h("dd", {}),
    now: h("dd", {}),
    needed: h("dd", {}),
    used: h("dd", {}),
    saved: h("dd", {}),
  };
  const list = h(
    "dl",
    { class: "size" },
    Object.entries(lines).map(([key, value]) => h("div", {}, h("dt", {}, key), value)),
  );
  const update = ({ template, now, needed, used: usage, saved }) => {
    text(lines.template, size(template));
    text(lines.now, size(now));
    text(lines.needed, size(needed));
    // What runs uses some memory: nothing at all means that it is not measured.
    text(lines.used, usage[used] === null ? "–" : of(usage[used]));
    text(lines.saved, of(saved[used]));
    attribute(lines.saved, "data-sign", saved[used] > 0 ? "plus" : saved[used] < 0 && "minus");
  };
  return { node: h("td", { class: "sizes-of", "data-label": label }, list), update };
}
