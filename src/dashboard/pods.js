// The pods: one page of as many as there are, searched and sorted by the service.

import { get, post } from "./api.js";
import { sparkLegend, sparkline } from "./charts.js";
import { chip, statusChip, terms, why } from "./decision.js";
import { confirm, refused, toast } from "./dialogs.js";
import { attribute, busy, h, keyed, text } from "./dom.js";
import { ago, amount, count, percent, plural, STATUS, words } from "./format.js";
import {
  field,
  filtersOf,
  namespaceSelect,
  PAGE,
  pager,
  searchInput,
  select,
  sortHeaders,
} from "./listing.js";
import { scaleNow, showPod } from "./pod.js";
import { workloadLink } from "./workload.js";

const COLUMNS = [
  ["name", "Pod", "asc"],
  ["cpu_utilization", "CPU", "desc"],
  ["memory_utilization", "Memory", "desc"],
  ["decision", "Last decision", "asc"],
];
const SORTS = [
  ["name", "asc", "Namespace, name"],
  ["cpu_utilization", "desc", "CPU, share of the limit"],
  ["memory_utilization", "desc", "Memory, share of the limit"],
  ["cpu", "desc", "CPU used"],
  ["memory", "desc", "Memory used"],
  ["decision", "asc", "Last decision"],
];
const SHOW = [
  ["", "All pods"],
  ["monitored=true", "Monitored"],
  ["monitored=false", "Not monitored"],
  ["status=success", "Last decision: applied"],
  ["status=dry_run", "Last decision: dry run"],
  ["status=skipped", "Last decision: skipped"],
  ["status=failed", "Last decision: failed"],
];

export function pods(app) {
  const filters = filtersOf(app, { show: "", sort: "name", order: "asc" });
  const search = searchInput("pods-search", "Name, namespace or workload", filters, ask);
  const namespaces = namespaceSelect("pods-namespace", app, filters, (value) =>
    ask({ namespace: value }),
  );
  const show = select("pods-show", SHOW, filters.show, (value) => ask({ show: value }));
  const sort = select(
    "pods-sort",
    SORTS.map(([key, order, label]) => [`${key} ${order}`, label]),
    `${filters.sort} ${filters.order}`,
    (value) => {
      const [key, order] = value.split(" ");
      ask({ sort: key, order });
    },
  );
  const all = h(
    "button",
    { type: "button", class: "scale-all", click: () => scaleAll(app, all) },
    "Scale all now",
  );
  const headers = sortHeaders(COLUMNS, filters, ask);
  const body = h("tbody", {});
  const update = keyed(
    body,
    (pod) => `${pod.namespace}/${pod.name}`,
    (pod) => row(app, pod),
  );
  const table = h(
    "table",
    { class: "pods" },
    h("caption", { class: "spoken" }, "Pods with usage, limits and the last decision"),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        headers.map((c) => c.node),
        h("th", { scope: "col" }, h("span", { class: "spoken" }, "Scale")),
      ),
    ),
    body,
  );
  const empty = h("p", { class: "empty" }, "Loading the pods …");
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
      field("Sort by", sort),
      all,
    ),
    h(
      "section",
      { class: "panel flush" },
      h("p", { class: "key-of" }, sparkLegend()),
      table,
      empty,
      pages.node,
    ),
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
    attribute(all, "disabled", !app.connected);
    if (!app.connected) {
      update([]);
      attribute(table, "hidden", true);
      attribute(empty, "hidden", false);
      text(empty, "No pods: no cluster is connected.");
      return;
    }
    const { search, namespace, sort, order, offset, show } = filters;
    const asked = JSON.stringify(filters);
    const answer = await get("pods/overview", {
      search,
      namespace,
      sort,
      order,
      offset,
      limit: PAGE,
      ...Object.fromEntries(new URLSearchParams(show)),
    });
    // Another request came meanwhile: its answer is on the way.
    if (asked !== JSON.stringify(filters)) return;
    if (answer.count === 0 && answer.found > 0) return ask({ offset: 0 });
    update(answer.pods.map((pod) => ({ ...pod, now: answer.timestamp })));
    attribute(table, "hidden", answer.count === 0);
    attribute(empty, "hidden", answer.count > 0);
    text(
      empty,
      answer.total === 0
        ? "There are no pods in the namespaces that are watched."
        : "No pod fits the search.",
    );
    pages.update(answer, "pod");
    showSort();
  }

  function showSort() {
    for (const column of headers) column.update(filters);
    const value = `${filters.sort} ${filters.order}`;
    if (sort.value !== value) sort.value = value;
  }

  return {
    title: "Pods",
    node,
    refresh,
    opened: (namespace, name) => showPod(app, namespace, name),
  };
}

function row(app, pod) {
  const usage = { cpu: usageCell("cpu"), memory: usageCell("memory") };
  const status = h("span", {});
  const where = h("small", {}, `${pod.namespace} · `, workloadLink(pod), status);
  const chips = h("span", { class: "chips" });
  const said = h("p", { class: "why" });
  const button = h(
    "button",
    {
      type: "button",
      class: "scale",
      "aria-label": `Scale now: ${pod.name}`,
      click: () => scaleNow(app, button, pod.namespace, pod.name),
    },
    "Scale now",
  );
  const node = h(
    "tr",
    {},
    h(
      "th",
      { scope: "row" },
      h("a", { href: `#/pods/${pod.namespace}/${pod.name}` }, pod.name),
      where,
    ),
    usage.cpu.node,
    usage.memory.node,
    h("td", { class: "decision" }, chips, said),
    h("td", { class: "act" }, button),
  );
  let lastKey;
  const update = (now) => {
    text(status, now.status === "Running" ? "" : ` · ${now.status}`);
    usage.cpu.update(now, now.metrics.cpu_usage, now.resources.cpu_limit);
    usage.memory.update(now, now.metrics.memory_usage_mb, now.resources.memory_limit_mb);
    attribute(node, "data-monitored", now.monitored ? null : "no");
    const last = now.last_decision;
    const key = JSON.stringify([
      last,
      now.cannot_scale,
      now.message,
      now.overrides,
      now.managed_by,
    ]);
    if (key !== lastKey) {
      lastKey = key;
      const when = h("time", { class: "muted" });
      chips.replaceChildren(
        ...(last
          ? [
              chip("CPU", last.cpu_action),
              chip("Memory", last.memory_action),
              statusChip(last.status),
              when,
            ]
          : [h("span", { class: "muted" }, now.cannot_scale ? words(now.cannot_scale) : "none yet")]
        ).filter(Boolean),
      );
      text(said, [why(now), ...terms(now)].filter(Boolean).join(" · "));
    }
    const when = chips.querySelector("time");
    if (when && last) text(when, ago(last.timestamp, now.now));
  };
  return { node, update };
}

function usageCell(resource) {
  const label = h("span", { class: "number" });
  const share = h("span", { class: "share" });
  const holder = h("div", { class: "spark-holder" });
  const node = h(
    "td",
    { class: "usage-cell", "data-label": resource === "cpu" ? "CPU" : "Memory" },
    holder,
    h("div", { class: "figures" }, label, share),
  );
  let drawn;
  const update = (pod, usage, asked) => {
    const of = amount[resource];
    // Without a limit the request stands in its place, which may be gone beyond.
    const limit = pod.without_limit.includes(resource) ? 0 : asked;
    text(label, `${of(usage)} / ${limit > 0 ? of(limit) : "no limit"}`);
    const part = usage !== null && limit > 0 ? usage / limit : null;
    text(share, part === null ? "" : percent(part));
    attribute(
      share,
      "data-level",
      part === null ? null : part >= 0.9 ? "high" : part <= 0.4 ? "low" : null,
    );
    const key = `${pod.history.timestamps.at(-1)} ${limit}`;
    if (key === drawn) return;
    drawn = key;
    holder.replaceChildren(sparkline(pod, resource));
  };
  return { node, update };
}

async function scaleAll(app, button) {
  const dry = app.statistics.system_status.dry_run_mode;
  const sure =
    dry ||
    (await confirm({
      title: "Scale all pods now?",
      text: "A whole cycle runs at once: what it decides is carried out.",
      action: "Scale all",
    }));
  if (!sure) return;
  await busy(button, async () => {
    try {
      const { processed, results } = await post("scale/all");
      const ends = new Map();
      for (const { status } of results) ends.set(status, (ends.get(status) ?? 0) + 1);
      const parts = [...ends].map(
        ([status, some]) => `${count(some)} ${STATUS[status] ?? words(status)}`,
      );
      toast(`${plural(processed, "pod")} processed: ${parts.join(", ")}.`);
    } catch (error) {
      refused(error);
    }
    await app.refresh();
  });
}
