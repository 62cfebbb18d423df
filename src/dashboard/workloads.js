// What is remembered of the workloads behind the pods: what a new pod starts with, and what it is
// given.

import { get } from "./api.js";
import { RESOURCES } from "./decision.js";
import { attribute, h, keyed, text } from "./dom.js";
import { ago, amount, date, plural } from "./format.js";
import { field, namespaceSelect, PAGE, pager, typed } from "./listing.js";

const FIELDS = {
  cpu: { request: "cpu_request", limit: "cpu_limit", used: "cpu_cores" },
  memory: { request: "memory_request_mb", limit: "memory_limit_mb", used: "memory_mb" },
};
const SIZES = [
  ["template", "Template"],
  ["now", "Now"],
  ["needed", "Needed"],
];
const USAGES = [
  ["peak", "Peak"],
  ["typical", "Typical use"],
];

/** Where the workload of a pod of the overview is shown: one of a StatefulSet has its own. */
export function workloadLink({ namespace, name, workload }) {
  const owner = workload ? `${workload.kind} ${workload.name}` : "Pod of its own";
  const search = !workload || workload.kind === "StatefulSet" ? name : workload.name;
  const query = new URLSearchParams({ namespace, search });
  return h("a", { class: "workload", href: `#/workloads?${query}` }, owner);
}

export function workloads(app) {
  const filters = { search: "", namespace: "", offset: 0, ...app.query() };
  filters.offset = Number(filters.offset) || 0;
  const soon = typed(ask);
  const search = h("input", {
    type: "search",
    id: "workloads-search",
    placeholder: "Kind, name, pod or node",
    value: filters.search,
    input: () => soon({ search: search.value.trim() }),
  });
  const namespaces = namespaceSelect("workloads-namespace", app, filters, (value) =>
    ask({ namespace: value }),
  );
  const list = h("ol", { class: "workloads" });
  const update = keyed(
    list,
    ({ namespace, group, kind, name, instance }) =>
      [namespace, group, kind, name, instance].join("/"),
    row,
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
    ),
    h(
      "p",
      { class: "muted" },
      "What outlives the pods: each new one starts with the template, and is given what is needed. " +
        "Sizes are request / limit.",
    ),
    h("section", { class: "panel flush" }, list, empty, pages.node),
  );

  function ask(change) {
    Object.assign(filters, { offset: 0 }, change);
    app.setQuery({ ...filters, offset: filters.offset || "" });
    return app.refresh();
  }

  async function refresh() {
    namespaces.update();
    const asked = JSON.stringify(filters);
    const answer = await get("workloads", { ...filters, limit: PAGE });
    // Another request came meanwhile: its answer is on the way.
    if (asked !== JSON.stringify(filters)) return;
    if (answer.count === 0 && answer.found > 0) return ask({ offset: 0 });
    update(answer.workloads.map((workload) => ({ ...workload, asOf: answer.timestamp })));
    attribute(empty, "hidden", answer.count > 0);
    text(
      empty,
      filters.search || filters.namespace
        ? "No workload that is remembered fits."
        : "No workload is remembered yet.",
    );
    pages.update(answer, "workload");
  }

  return { title: "Workloads", node, refresh };
}

function row({ namespace, kind, name, instance }) {
  const owner = instance ? `${kind} ${name}` : kind;
  const query = new URLSearchParams({
    namespace,
    search: kind === "StatefulSet" ? instance : name,
  });
  const pods = h("a", { class: "pods-of", href: `#/pods?${query}` });
  const seen = h("span", { class: "muted seen" });
  const containers = h("div", {});
  const update = keyed(containers, (container) => container.name, containerOf);
  return {
    node: h(
      "li",
      {},
      h(
        "div",
        { class: "who" },
        h("h2", {}, instance ?? name),
        h("small", {}, `${namespace} · ${owner}`),
        pods,
        seen,
      ),
      containers,
    ),
    update: (workload) => {
      const { asOf, last_seen: last } = workload;
      text(pods, plural(workload.pods, "pod"));
      text(seen, workload.pods === 0 && last ? `last seen ${ago(last, asOf)}` : "");
      update(workload.containers.map((container) => ({ ...container, asOf })));
    },
  };
}

function containerOf({ name }) {
  const image = h("code", { class: "image" });
  const since = h("time", {});
  const kill = h("time", { class: "kill" });
  const body = h("tbody", {});
  const node = h(
    "div",
    { class: "remembered" },
    h("p", { class: "about" }, h("b", {}, name), image, since, kill),
    h(
      "table",
      { class: "sizes" },
      h("caption", { class: "spoken" }, `Container ${name}: sizes as request / limit, and usage`),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("td", {}),
          [...SIZES, ...USAGES].map(([, label]) =>
            h("th", { scope: "col", class: "number" }, label),
          ),
        ),
      ),
      body,
    ),
  );
  let drawn;
  return {
    node,
    update: (container) => {
      const { known_since: known, last_oom_kill: killed, asOf } = container;
      text(image, container.image);
      text(since, known ? `known since ${date(known)}, ${ago(known, asOf)}` : "not measured yet");
      attribute(since, "datetime", known);
      text(kill, killed ? `killed for memory ${date(killed)}, ${ago(killed, asOf)}` : "");
      attribute(kill, "datetime", killed);
      const rows = RESOURCES.map(([key, label]) => [label, ...figures(container, key)]);
      const key = JSON.stringify(rows);
      if (key === drawn) return;
      drawn = key;
      body.replaceChildren(...rows.map(figuresRow));
    },
  };
}

/** Of one resource, in the order of the columns. */
function figures(container, resource) {
  const { request, limit, used } = FIELDS[resource];
  const of = amount[resource];
  const size = (amounts) => (amounts ? `${of(amounts[request])} / ${of(amounts[limit])}` : "–");
  return [
    ...SIZES.map(([key]) => size(container[key])),
    ...USAGES.map(([key]) => of(container[key][used] || null)),
  ];
}

function figuresRow([resource, ...cells]) {
  const labels = [...SIZES, ...USAGES].map(([, label]) => label);
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, resource),
    cells.map((cell, column) => h("td", { class: "number", "data-label": labels[column] }, cell)),
  );
}
