// What a glance must tell: live or dry, running or not, what was decided, what was done.

import { get } from "./api.js";
import { distribution, timeline, timelineLegend } from "./charts.js";
import { autoscalerButton, modeButton } from "./controls.js";
import { changed } from "./decision.js";
import { attribute, h, keyed, text } from "./dom.js";
import { ago, amount, count, date, number, percent, plural } from "./format.js";

const CHANGES = 8;

export function overview(app) {
  const mode = modePanel(app);
  const cards = [
    card(
      "Decisions",
      (s) => count(s.overview.total_decisions),
      () => "taken since the start",
    ),
    card(
      "Pods monitored",
      (s) => count(s.overview.total_pods_monitored),
      (_, config) => config && `in ${plural(config.namespaces.length, "namespace")}`,
    ),
    card(
      "Changes applied",
      (s) => count(s.overview.applied_scalings),
      (s) =>
        s.system_status.dry_run_mode
          ? "dry run: none are applied now"
          : "limits changed in the cluster",
    ),
    card(
      "Scaling rate",
      (s) => `${number(s.overview.scaling_rate, 1)} %`,
      () => "changes in a hundred decisions",
    ),
  ];
  const chart = h("div", { class: "body" });
  const since = h("span", { class: "muted" });
  const actions = h("div", { class: "body" });
  const averages = h("dl", { class: "facts" });
  const changes = h("ol", { class: "changes" });
  const noChanges = h("p", { class: "empty" });
  const updateChanges = keyed(
    changes,
    (d) => `${d.timestamp} ${d.namespace}/${d.pod_name}`,
    changeRow,
  );
  let drawn = "";

  const node = h(
    "div",
    { class: "view" },
    mode.node,
    h(
      "section",
      { class: "cards", "aria-label": "Statistics" },
      cards.map((c) => c.node),
    ),
    h(
      "div",
      { class: "split" },
      section("Applied and skipped over time", since, chart, timelineLegend()),
      section("Action distribution", null, actions),
    ),
    h(
      "div",
      { class: "split" },
      section(
        "Last changes",
        h("a", { href: "#/decisions" }, "All decisions"),
        h("div", {}, changes, noChanges),
      ),
      section("Averages over all decisions", null, averages),
    ),
  );

  function show(statistics) {
    mode.update();
    for (const c of cards) c.update(statistics, app.config);
    const { cpu_actions, memory_actions } = statistics.action_distribution;
    actions.replaceChildren(
      distribution("CPU", cpu_actions),
      distribution("Memory", memory_actions),
    );
    const { resource_utilization: used, model_performance: model } = statistics;
    averages.replaceChildren(
      fact("CPU usage of a pod", amount.cpu(used.average_cpu_usage)),
      fact("Memory usage of a pod", amount.memory(used.average_memory_usage_mb)),
      fact("Confidence, CPU head", percent(model.average_cpu_confidence)),
      fact("Confidence, memory head", percent(model.average_memory_confidence)),
    );
  }

  function showCycles(cycles) {
    const key = JSON.stringify(cycles);
    // Redrawn only when there is something new, and not while somebody reads it off.
    if (key === drawn || chart.matches(":focus-within, :hover")) return;
    drawn = key;
    text(since, cycles.length > 0 ? `since ${date(cycles[0].timestamp)}` : "");
    chart.replaceChildren(
      cycles.length > 1
        ? timeline(cycles, Math.max(280, chart.clientWidth))
        : h(
            "p",
            { class: "empty" },
            app.connected
              ? "The first cycles are under way."
              : "No cycles: no cluster is connected.",
          ),
    );
  }

  async function refresh() {
    show(app.statistics);
    const dry = app.statistics.system_status.dry_run_mode;
    const wanted = { limit: CHANGES, details: true, status: dry ? "dry_run" : "success" };
    const [past, { decisions }] = await Promise.all([
      get("statistics/timeline"),
      get("decisions", wanted),
    ]);
    showCycles(past.cycles);
    updateChanges(decisions.reverse().map((decision) => ({ ...decision, now: past.timestamp })));
    attribute(noChanges, "hidden", decisions.length > 0);
    text(
      noChanges,
      dry ? "Nothing would have been changed so far." : "Nothing was changed so far.",
    );
  }

  return { title: "Overview", node, refresh };
}

function modePanel(app) {
  const word = h("strong", { class: "mode-word" });
  const says = h("p", {});
  const loop = h("p", { class: "muted" });
  const [toggle, start] = [modeButton(app), autoscalerButton(app)];
  const node = h(
    "section",
    { class: "mode-panel", "aria-label": "Mode" },
    h("div", {}, word, says, loop),
    h("div", { class: "buttons" }, toggle.node, start.node),
  );
  const update = () => {
    const dry = app.statistics.system_status.dry_run_mode;
    attribute(node, "data-mode", dry ? "dry" : "live");
    text(word, dry ? "Dry run" : "Live");
    text(
      says,
      dry ? "It decides and explains, and changes nothing." : "Pods are resized as decided.",
    );
    text(loop, app.loopSays());
    toggle.update();
    start.update();
  };
  return { node, update };
}

function card(label, value, note) {
  const [big, small] = [h("p", { class: "big" }, "–"), h("p", { class: "muted" })];
  const update = (statistics, config) => {
    text(big, value(statistics));
    text(small, note(statistics, config) ?? "");
  };
  return { node: h("article", { class: "card" }, h("h2", {}, label), big, small), update };
}

export function section(title, aside, ...body) {
  return h(
    "section",
    { class: "panel" },
    h("div", { class: "panel-head" }, h("h2", {}, title), aside),
    body,
  );
}

const fact = (label, value) => h("div", {}, h("dt", {}, label), h("dd", {}, value));

function changeRow(decision) {
  const when = h("time", { datetime: decision.timestamp, title: date(decision.timestamp) });
  const pod = h(
    "a",
    { href: `#/pods/${decision.namespace}/${decision.pod_name}` },
    decision.pod_name,
    h("small", {}, decision.namespace),
  );
  const node = h("li", {}, pod, h("span", { class: "deltas" }, changed(decision)), when);
  return { node, update: ({ timestamp, now }) => text(when, ago(timestamp, now)) };
}
