// One decision, shown in full or in short: the same wherever it appears.

import { qBars } from "./charts.js";
import { h } from "./dom.js";
import { ACTION, amount, number, percent, STATUS, words } from "./format.js";

export const RESOURCES = [
  ["cpu", "CPU"],
  ["memory", "Memory"],
];

export function chip(label, action) {
  if (!action) return null;
  const { sign, word, class: kind } = ACTION[action];
  return h(
    "span",
    { class: `chip ${kind}` },
    `${label} `,
    h("b", { "aria-hidden": "true" }, sign),
    h("span", { class: "spoken" }, word),
  );
}

/** What the last decision came to, and what is in the way now where that says something else. */
export function why({ last_decision: last, message }) {
  const said = last?.why ?? "";
  return message && !said.includes(message) ? `${said} ${message}.`.trim() : said;
}

/** What annotations ask for and what other autoscalers have, in a few words each. */
export function terms({ overrides = {}, managed_by: competing = [] }) {
  const { mode, up_only: upOnly, controls, containers } = overrides;
  const bounds = RESOURCES.flatMap(([key]) => {
    const label = key === "cpu" ? "CPU" : key;
    const [min, max] = ["min", "max"].map(
      (bound) => overrides[`${bound}_${key === "memory" ? "memory_mb" : key}`],
    );
    return [
      min && `${label} of at least ${amount[key](min)}`,
      max && `${label} of at most ${amount[key](max)}`,
    ];
  });
  const wished = [
    mode && `mode ${mode}`,
    ...bounds,
    upOnly && "never cut",
    controls && controls !== "both" && `${controls} alone`,
    containers && `only ${containers.join(", ")}`,
  ].filter(Boolean);
  const left = competing.map(
    ({ kind, name, resources }) => `${resources.join(" and ")} left to ${kind} ${name}`,
  );
  return [wished.length > 0 && `by annotation: ${wished.join(", ")}`, ...left].filter(Boolean);
}

export const statusChip = (status) =>
  h("span", { class: `status ${status}` }, STATUS[status] ?? words(status));

/** From which limit to which, for the resources that change. */
export function changed({ resource_changes: changes }) {
  const parts = RESOURCES.filter(([key]) => changes && changes[key].action !== "MAINTAIN");
  return parts.map(([key, label]) => {
    const { current, new: next, action } = changes[key];
    return h(
      "span",
      { class: `delta ${ACTION[action].class}` },
      `${label} `,
      h("span", { class: "number" }, `${amount[key](current)} → ${amount[key](next)}`),
    );
  });
}

/** Q values, what came of them, and why. */
export function explained(decision) {
  const {
    q_values: q,
    predictions,
    confidence,
    resource_changes: changes,
    explanation,
    future_predictions: future,
    current_metrics: now,
  } = decision;
  // The network is sure of something, or has not been asked.
  if (confidence.cpu === 0) {
    return h("p", { class: "muted" }, `Nothing could be decided: ${explanation.reasoning}`);
  }
  const head = {
    cpu: [q.cpu_q_values, predictions.cpu_action],
    memory: [q.memory_q_values, predictions.memory_action],
  };
  const usage = { cpu: now.cpu_usage, memory: now.memory_usage_mb };
  const next = { cpu: future.next_step_cpu, memory: future.next_step_memory };
  return h(
    "div",
    { class: "explained" },
    h("p", { class: "reasoning" }, explanation.reasoning),
    h(
      "ul",
      { class: "factors", "aria-label": "Factors" },
      explanation.factors.map((factor) => h("li", {}, words(factor))),
    ),
    h(
      "div",
      { class: "two" },
      RESOURCES.map(([key, label]) => qBars(`${label}: Q values`, ...head[key], confidence[key])),
    ),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "group", "aria-label": "Usage and limits" },
      h(
        "table",
        { class: "plain" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["", "usage", "next step", "limit", "new limit", "change"].map((title) =>
              h("th", { scope: "col", class: title && "number" }, title),
            ),
          ),
        ),
        h(
          "tbody",
          {},
          RESOURCES.map(([key, label]) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, label),
              [
                amount[key](usage[key]),
                amount[key](next[key]),
                amount[key](changes[key].current),
                amount[key](changes[key].new),
                changeOf(changes[key]),
              ].map((cell) => h("td", { class: "number" }, cell)),
            ),
          ),
        ),
      ),
    ),
  );
}

function changeOf({ current, new: next, change_percent: change }) {
  if (next === current) return "none";
  return current > 0 ? `${change > 0 ? "+" : ""}${number(change, 1)} %` : percent(0);
}
