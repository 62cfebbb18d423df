// What was done to pods, newest first, grouped by cycle.

import { base, get } from "./api.js";
import { RESOURCES } from "./decision.js";
import { attribute, h, keyed, text } from "./dom.js";
import { ago, amount, day, duration, plural } from "./format.js";
import {
  field,
  filtersOf,
  momentInput,
  namespaceSelect,
  PAGE,
  pager,
  RANGES,
  searchInput,
  select,
  since,
} from "./listing.js";

const COURSES = {
  done: "done",
  pending: "not done yet",
  fell_back: "into the template",
  failed: "failed",
  undone: "undone",
};
const BY = { loop: "loop", second_look: "loop, between cycles", person: "a person" };

export function changes(app) {
  const filters = filtersOf(app, { by: "", course: "", range: "", to: "" });
  const search = searchInput("changes-search", "Pod, namespace or workload", filters, ask);
  const namespaces = namespaceSelect("changes-namespace", app, filters, (value) =>
    ask({ namespace: value }),
  );
  const by = select("changes-by", [["", "Anybody"], ...Object.entries(BY)], filters.by, (value) =>
    ask({ by: value }),
  );
  const course = select(
    "changes-course",
    [["", "However it went"], ...Object.entries(COURSES)],
    filters.course,
    (value) => ask({ course: value }),
  );
  const range = select("changes-range", RANGES, filters.range, (value) => ask({ range: value }));
  const upTo = momentInput("changes-to", filters.to, (to) => ask({ to }));
  const [csv, json] = ["CSV", "JSON"].map((kind) =>
    h("a", { class: "button", download: "" }, `Export ${kind}`),
  );
  const list = h("ol", { class: "cycles" });
  const update = keyed(list, ({ key }) => key, cycle);
  const empty = h("p", { class: "empty" }, "Loading the changes …");
  const pages = pager(filters, (offset) => ask({ offset }));
  const node = h(
    "div",
    { class: "view" },
    h(
      "div",
      { class: "toolbar", role: "search" },
      field("Search", search),
      field("Namespace", namespaces.node),
      field("By", by),
      field("How it went", course),
      field("When", range),
      field("Up to", upTo),
      csv,
      json,
    ),
    h("section", { class: "panel flush" }, list, empty, pages.node),
  );

  function ask(change) {
    Object.assign(filters, { offset: 0 }, change);
    app.setQuery({ ...filters, offset: filters.offset || "" });
    return app.refresh();
  }

  function wanted() {
    const { search, namespace, by, course, range, to } = filters;
    const from = since(range, to || app.statistics.timestamp);
    return { search, namespace, by, course, from, to };
  }

  async function refresh() {
    namespaces.update();
    const asked = JSON.stringify(filters);
    const query = wanted();
    for (const [link, format] of [
      [csv, "csv"],
      [json, "json"],
    ]) {
      const url = new URL("changes/export", base);
      for (const [name, value] of Object.entries({ ...query, format }))
        if (value) url.searchParams.set(name, value);
      attribute(link, "href", url.href);
    }
    const answer = await get("changes", { ...query, offset: filters.offset, limit: PAGE });
    if (asked !== JSON.stringify(filters)) return;
    if (answer.count === 0 && answer.found > 0) return ask({ offset: 0 });
    update(byCycle(answer.changes, answer.timestamp));
    attribute(empty, "hidden", answer.count > 0);
    const filtered = filters.search || filters.namespace || filters.by || filters.course;
    text(
      empty,
      filtered || filters.range || filters.to
        ? "No change that is kept fits."
        : app.statistics.system_status.dry_run_mode
          ? "Nothing was changed: it is a dry run."
          : "Nothing was changed so far.",
    );
    pages.update(answer, "change");
  }

  return { title: "Changes", node, refresh };
}

/** Those of one cycle stand together. */
function byCycle(changes, now) {
  const cycles = [];
  for (const change of changes) {
    const key = `${change.cycle} ${change.by}`;
    if (cycles.at(-1)?.key !== key) cycles.push({ key, ...change, now, changes: [] });
    cycles.at(-1).changes.push({ ...change, now });
  }
  return cycles;
}

function cycle({ cycle: began, by, replica }) {
  const when = h("time", { datetime: began });
  const many = h("span", { class: "muted" });
  const rows = h("ol", { class: "changes-of" });
  const update = keyed(rows, (one) => `${one.timestamp} ${one.namespace}/${one.pod_name}`, row);
  const who = `by ${BY[by]}, replica ${replica}`;
  return {
    node: h("li", {}, h("h2", { class: "cycle" }, when, h("small", {}, who), many), rows),
    update: ({ changes, now }) => {
      text(when, `${day(began)}, ${ago(began, now)}`);
      text(many, plural(changes.length, "change"));
      update(changes);
    },
  };
}

/** One change: of the overview, of a pod, and in the list. */
export function row(change) {
  const pod = h(
    "a",
    { href: `#/pods/${change.namespace}/${change.pod_name}` },
    change.pod_name,
    h("small", {}, [change.namespace, change.workload].filter(Boolean).join(" · ")),
  );
  const went = h("span", { class: "went" });
  const said = h("span", { class: "muted said" });
  const node = h("li", { class: "change" }, pod, h("div", {}, resources(change), said), went);
  return {
    node,
    update: (now) => {
      attribute(went, "data-course", now.course);
      text(went, course(now));
      text(said, now.message ?? "");
    },
  };
}

function course({ course: how, seconds, undone_at: undone, now }) {
  if (how === "undone") return `undone ${undone ? ago(undone, now) : ""}`.trim();
  if (how === "done" && seconds !== null)
    return `done in ${seconds < 1 ? "less than 1 s" : duration(seconds)}`;
  return COURSES[how];
}

/** From what to what, and why. */
function resources({ containers }) {
  return containers.flatMap((container) =>
    RESOURCES.filter(([key]) => container[key]).map(([key, label]) => {
      const of = amount[key];
      const { limit_before: old, limit_after: next, why } = container[key];
      const { request_before: asked, request_after: asks } = container[key];
      const [what, from, to] =
        next !== null && next !== old ? ["", old, next] : [" request", asked, asks];
      const kind = to > (from ?? 0) ? "increase" : "decrease";
      const also = what === "" && asked !== asks && ` (request ${of(asked)} → ${of(asks)})`;
      return h(
        "p",
        { class: `delta ${kind}` },
        containers.length > 1 && `${container.name}: `,
        `${label}${what} `,
        h("span", { class: "number" }, `${of(from)} → ${of(to)}`),
        also && h("span", { class: "muted" }, also),
        h("span", { class: "because" }, ` ${why}`),
      );
    }),
  );
}

/** The newest changes that a query takes, as a list. */
export async function newest(query) {
  const { changes, timestamp } = await get("changes", query);
  return changes.map((change) => ({ ...change, now: timestamp }));
}

/** One of them, with when it was. */
export function listed(change) {
  const { node, update } = row(change);
  update(change);
  node.append(
    h(
      "time",
      { datetime: change.timestamp, title: day(change.timestamp) },
      ago(change.timestamp, change.now),
    ),
  );
  return node;
}
