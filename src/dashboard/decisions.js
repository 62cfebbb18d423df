// Past decisions, newest first, each with its Q values and its reasons.

import { get } from "./api.js";
import { changed, chip, explained, statusChip } from "./decision.js";
import { attribute, h, keyed, text } from "./dom.js";
import { ago, date, number, plural } from "./format.js";
import { field, select, typed } from "./listing.js";

const STEP = 50;
const MOST = 1000;

export function decisions(app) {
  const filters = { pod: "", action: "", applied: "", limit: STEP, ...app.query() };
  filters.limit = Number(filters.limit) || STEP;
  let paused = false;
  const soon = typed(ask);
  const pod = h("input", {
    type: "search",
    id: "decisions-pod",
    placeholder: "A part of namespace/name",
    value: filters.pod,
    input: () => soon({ pod: pod.value.trim() }),
  });
  const action = select(
    "decisions-action",
    [
      ["", "Any action"],
      ["INCREASE", "Increase"],
      ["DECREASE", "Decrease"],
      ["MAINTAIN", "Maintain"],
    ],
    filters.action,
    (value) => ask({ action: value }),
  );
  const applied = select(
    "decisions-applied",
    [
      ["", "Applied or not"],
      ["true", "Applied"],
      ["false", "Not applied"],
    ],
    filters.applied,
    (value) => ask({ applied: value }),
  );
  const hold = h(
    "button",
    { type: "button", class: "hold", "aria-pressed": "false", click: toggle },
    "Pause",
  );
  // Rows that come in above would move one that is being read.
  const fresh = h(
    "button",
    { type: "button", class: "fresh", hidden: true, click: close },
    "Show newer decisions",
  );
  const list = h("ol", { class: "decisions" });
  const keyOf = (d) => `${d.timestamp} ${d.namespace}/${d.pod_name}`;
  let shown = new Set();
  const update = keyed(list, keyOf, row);
  const empty = h("p", { class: "empty" }, "Loading the decisions …");
  const found = h("p", { class: "found", role: "status" });
  const more = h(
    "button",
    { type: "button", click: () => ask({ limit: Math.min(MOST, filters.limit + STEP) }) },
    "Show more",
  );
  const node = h(
    "div",
    { class: "view" },
    h(
      "div",
      { class: "toolbar", role: "search" },
      field("Pod", pod),
      field("Action", action),
      field("Applied", applied),
      hold,
    ),
    h(
      "div",
      { class: "holds-fresh" },
      fresh,
      h(
        "section",
        { class: "panel flush" },
        list,
        empty,
        h("div", { class: "pager" }, found, more),
      ),
    ),
  );

  function toggle() {
    paused = !paused;
    attribute(hold, "aria-pressed", String(paused));
    text(hold, paused ? "Resume" : "Pause");
    if (!paused) app.refresh();
  }

  function ask(change) {
    Object.assign(filters, change);
    app.setQuery({ ...filters, limit: filters.limit === STEP ? "" : filters.limit });
    return load();
  }

  const opened = () => list.querySelectorAll(".row[aria-expanded=true]");

  function close() {
    for (const head of opened()) head.click();
    return app.refresh();
  }

  async function load(held = false) {
    const asked = JSON.stringify(filters);
    const answer = await get("decisions", { ...filters, details: true });
    if (asked !== JSON.stringify(filters)) return;
    const now = app.statistics.timestamp;
    const newer = answer.decisions.filter((decision) => !shown.has(keyOf(decision))).length;
    attribute(fresh, "hidden", !held || newer === 0);
    if (held) return text(fresh, `Show ${plural(newer, "newer decision")}`);
    shown = new Set(answer.decisions.map(keyOf));
    update(answer.decisions.reverse().map((decision) => ({ ...decision, now })));
    attribute(empty, "hidden", answer.count > 0);
    text(
      empty,
      filters.pod || filters.action || filters.applied
        ? "No decision that is kept fits."
        : app.connected
          ? "No decisions yet."
          : "No decisions: no cluster is connected.",
    );
    text(found, answer.count > 0 ? `The newest ${plural(answer.count, "decision")}` : "");
    attribute(more, "hidden", answer.count < filters.limit || filters.limit >= MOST);
  }

  return {
    title: "Decisions",
    node,
    refresh: () => (paused ? undefined : load(opened().length > 0)),
  };
}

let nextId = 0;

function row(decision) {
  nextId += 1;
  const id = `decision-${nextId}`;
  const when = h("time", { datetime: decision.timestamp, title: date(decision.timestamp) });
  const detail = h("div", { id, class: "detail", hidden: true });
  const still = decision.cpu_action === "MAINTAIN" && decision.memory_action === "MAINTAIN";
  const { cpu_percentage: cpu, memory_percentage: memory } = decision.utilization;
  const head = h(
    "button",
    {
      type: "button",
      class: "quiet row",
      "aria-expanded": "false",
      "aria-controls": id,
      click: toggle,
    },
    h("span", { class: "pod" }, decision.pod_name, h("small", {}, decision.namespace)),
    h(
      "span",
      { class: "chips" },
      chip("CPU", decision.cpu_action),
      chip("Memory", decision.memory_action),
      statusChip(decision.status),
    ),
    h(
      "span",
      { class: "deltas" },
      still
        ? h(
            "span",
            { class: "muted" },
            `used: CPU ${number(cpu, 0)} %, memory ${number(memory, 0)} %`,
          )
        : changed(decision),
    ),
    when,
  );

  function toggle() {
    const open = head.getAttribute("aria-expanded") === "true";
    if (!open && detail.childElementCount === 0) {
      detail.append(
        h("p", { class: decision.status === "failed" ? "error" : "muted" }, decision.message),
        explained(decision),
      );
    }
    attribute(head, "aria-expanded", String(!open));
    attribute(detail, "hidden", open);
  }

  return {
    node: h("li", {}, head, detail),
    update: ({ timestamp, now }) => text(when, ago(timestamp, now)),
  };
}
