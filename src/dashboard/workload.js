// One workload: what is remembered of it, by pod of a StatefulSet and node of a DaemonSet, and what
// was done to it.

import { get } from "./api.js";
import { listed, newest } from "./changes.js";
import { RESOURCES } from "./decision.js";
import { open, refused } from "./dialogs.js";
import { h } from "./dom.js";
import { ago, amount, date, plural } from "./format.js";

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
const CHANGES = 8;
const MOST = 100;

export const address = ({ namespace, kind, name }) => `#/workloads/${namespace}/${kind}/${name}`;

/** Where the workload of a pod of the overview is shown. */
export function workloadLink({ namespace, name, workload }) {
  const owner = workload ?? { kind: "Pod", name };
  const label = workload ? `${workload.kind} ${workload.name}` : "Pod of its own";
  return h("a", { class: "workload", href: address({ namespace, ...owner }) }, label);
}

/** Opens the workload that the address names; closing goes back to the list. */
export async function showWorkload(namespace, kind, name) {
  let known, changes, asOf;
  try {
    const ours = (one) => one.kind === kind && one.name === name;
    const owner = kind === "Pod" ? `${namespace}/${name}` : `${kind} ${name}`;
    [{ workloads: known, timestamp: asOf }, changes] = await Promise.all([
      get("workloads", { namespace, search: name, limit: MOST }),
      newest({ namespace, search: owner, limit: CHANGES }),
    ]);
    known = known.filter(ours);
    changes = changes.filter(({ workload }) => kind === "Pod" || workload === owner);
  } catch (error) {
    refused(error);
    return;
  }
  const query = new URLSearchParams({ namespace, search: name });
  const pods = known.reduce((sum, one) => sum + one.pods, 0);
  const search = new URLSearchParams({
    namespace,
    search: kind === "Pod" ? name : `${kind} ${name}`,
  });
  await open(
    name,
    () => [
      h(
        "p",
        { class: "muted" },
        `${namespace} · ${kind} · `,
        h("a", { class: "pods-of", href: `#/pods?${query}` }, plural(pods, "pod")),
      ),
      h("h3", {}, "What is remembered"),
      h(
        "p",
        { class: "muted" },
        "It outlives the pods: each new one starts with the template, and is given what is " +
          "needed. Sizes are request / limit.",
      ),
      known.length > 0
        ? h(
            "ol",
            { class: "workloads" },
            known.map((one) => remembered(one, asOf)),
          )
        : h("p", { class: "muted" }, "Nothing is remembered of it yet."),
      h("h3", {}, "Last changes"),
      changes.length > 0
        ? h("ol", { class: "changes-of" }, changes.map(listed))
        : h("p", { class: "muted" }, "It was not changed."),
      h(
        "div",
        { class: "buttons" },
        h("a", { class: "button", href: `#/pods?${query}` }, "Its pods"),
        h("a", { class: "button", href: `#/changes?${search}` }, "Its changes"),
      ),
    ],
    { wide: true },
  );
}

function remembered({ instance, pods, last_seen: last, containers }, asOf) {
  const gone = pods === 0 && last ? `last seen ${ago(last, asOf)}` : "";
  return h(
    "li",
    {},
    (instance || gone) &&
      h(
        "div",
        { class: "who" },
        instance && h("h4", {}, instance),
        h("span", { class: "muted seen" }, gone),
      ),
    containers.map((container) => containerOf({ ...container, asOf })),
  );
}

function containerOf(container) {
  const { name, image, known_since: known, last_oom_kill: killed, asOf } = container;
  const since = known ? `known since ${date(known)}, ${ago(known, asOf)}` : "not measured yet";
  const kill = killed && `killed for memory ${date(killed)}, ${ago(killed, asOf)}`;
  return h(
    "div",
    { class: "remembered" },
    h(
      "p",
      { class: "about" },
      h("b", {}, name),
      h("code", { class: "image" }, image),
      h("time", { datetime: known }, since),
      kill && h("time", { class: "kill", datetime: killed }, kill),
    ),
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
      h(
        "tbody",
        {},
        RESOURCES.map(([key, label]) => figuresRow([label, ...figures(container, key)])),
      ),
    ),
  );
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
