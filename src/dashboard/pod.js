// One pod: its charts, its last decision in full, and deciding on it now.

import { get, post } from "./api.js";
import { listed, newest } from "./changes.js";
import { usageChart } from "./charts.js";
import { changed, chip, explained, RESOURCES, statusChip, terms, why } from "./decision.js";
import { open, refused } from "./dialogs.js";
import { busy, h } from "./dom.js";
import { ago, words } from "./format.js";
import { workloadLink } from "./workload.js";

const CHANGES = 5;

export async function scaleNow(app, button, namespace, name) {
  await busy(button, async () => {
    try {
      const { result } = await post(`scale/pod/${namespace}/${name}`);
      open(name, () => scaled(app, result), { wide: true });
    } catch (error) {
      refused(error);
    }
    app.refresh();
  });
}

function scaled(app, result) {
  const dry = app.statistics.system_status.dry_run_mode;
  const [cpu, memory] = RESOURCES.map(([key, label]) =>
    chip(label, result.resource_changes?.[key].action),
  );
  return [
    h("p", { class: "chips" }, [
      cpu,
      memory,
      statusChip(result.status),
      dry && h("span", { class: "muted" }, "dry run: nothing is changed"),
    ]),
    h("p", { class: "deltas" }, changed(result)),
    result.confidence.cpu > 0 &&
      (result.message ?? result.reason) &&
      h(
        "p",
        { class: "muted" },
        `${words(result.status)}: ${result.message ?? words(result.reason)}`,
      ),
    explained(result),
  ];
}

/** Opens the pod that the address names; closing goes back to the list. */
export async function showPod(app, namespace, name) {
  let pod, events, decisions, now, changes;
  try {
    const wanted = { pod: `${namespace}/${name}`, limit: 1, details: true };
    [{ pod, events, timestamp: now }, { decisions }, changes] = await Promise.all([
      get(`pods/${namespace}/${name}/history`),
      get("decisions", wanted),
      newest({ search: `${namespace}/${name}`, limit: CHANGES }),
    ]);
  } catch (error) {
    refused(error);
    return;
  }
  const last = decisions.find(
    (decision) => decision.pod_name === name && decision.namespace === namespace,
  );
  await open(
    name,
    (close) => {
      const button = h(
        "button",
        {
          type: "button",
          class: "primary",
          click: () => {
            close();
            scaleNow(app, button, namespace, name);
          },
        },
        "Scale now",
      );
      return [
        h(
          "p",
          { class: "muted" },
          `${namespace} · `,
          workloadLink(pod),
          ` · ${pod.status}`,
          pod.cannot_scale && ` · not scaled: ${words(pod.cannot_scale)}`,
        ),
        terms(pod).map((term) => h("p", { class: "muted terms" }, term)),
        RESOURCES.map(([key]) => usageChart(pod, key, events)),
        h(
          "h3",
          {},
          "Last decision ",
          last && h("small", { class: "muted" }, ago(last.timestamp, now)),
        ),
        h("p", { class: "why" }, why(pod)),
        last
          ? explained(last)
          : h("p", { class: "muted" }, "No decision on it is among those that are kept."),
        h("h3", {}, "Last changes"),
        changes.length > 0
          ? h("ol", { class: "changes-of" }, changes.map(listed))
          : h("p", { class: "muted" }, "It was not changed."),
        h(
          "div",
          { class: "buttons" },
          h("a", { class: "button", href: `#/changes?search=${namespace}/${name}` }, "Its changes"),
          h(
            "a",
            { class: "button", href: `#/decisions?pod=${namespace}/${name}` },
            "Its decisions",
          ),
          button,
        ),
      ];
    },
    { wide: true },
  );
}
