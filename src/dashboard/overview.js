// What a glance must tell: live or dry, what it brings, what is at risk, what was done.

import { get } from "./api.js";
import { listed, newest } from "./changes.js";
import { distribution, timeline, timelineLegend } from "./charts.js";
import { autoscalerButton, modeButton } from "./controls.js";
import { attribute, h, text } from "./dom.js";
import { count, date, number } from "./format.js";
import { coursePanel, outcomeCards, plan, riskPanel } from "./outcome.js";

const CHANGES = 8;

export function overview(app) {
  const mode = modePanel(app);
  const cards = outcomeCards();
  const [course, risks] = [coursePanel(), riskPanel()];
  const planned = h("span", {});
  const which = h("a", { href: "#/pods?show=status%3Ddry_run" }, "Which pods");
  const would = h("p", { class: "plan" }, planned, " ", which);
  const chart = h("div", { class: "body" });
  const since = h("span", { class: "muted" });
  const actions = h("div", { class: "body" });
  const averages = h("dl", { class: "facts" });
  const changes = h("ol", { class: "changes-of" });
  const noChanges = h("p", { class: "empty" });
  let drawn = "";

  const node = h(
    "div",
    { class: "view" },
    mode.node,
    would,
    h("section", { class: "cards", "aria-label": "Outcome" }, cards.nodes),
    h(
      "div",
      { class: "split" },
      section("All pods, against their templates", null, course.node),
      section(
        "At risk",
        h("a", { href: "#/workloads?show=at_risk" }, "Their workloads"),
        risks.node,
      ),
    ),
    section(
      "Last changes",
      h("a", { href: "#/changes" }, "All changes"),
      h("div", {}, changes, noChanges),
    ),
    h(
      "div",
      { class: "split" },
      section("Applied and skipped over time", since, chart, timelineLegend()),
      section(
        "Decisions since the start",
        h("a", { href: "#/decisions" }, "All decisions"),
        averages,
        actions,
      ),
    ),
  );

  function show(statistics) {
    mode.update();
    const { cpu_actions, memory_actions } = statistics.action_distribution;
    actions.replaceChildren(
      distribution("CPU", cpu_actions),
      distribution("Memory", memory_actions),
    );
    const { overview: counts } = statistics;
    averages.replaceChildren(
      fact("Decisions", count(counts.total_decisions)),
      fact("Pods monitored", count(counts.total_pods_monitored)),
      fact("Changes applied", count(counts.applied_scalings)),
      fact("Changes in a hundred decisions", number(counts.scaling_rate, 1)),
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

  function showChanges(listing) {
    changes.replaceChildren(...listing.map(listed));
    attribute(noChanges, "hidden", listing.length > 0);
    const dry = app.statistics.system_status.dry_run_mode;
    text(noChanges, dry ? "Nothing was changed: it is a dry run." : "Nothing was changed so far.");
  }

  async function refresh() {
    show(app.statistics);
    const [past, listing, outcome] = await Promise.all([
      get("statistics/timeline"),
      newest({ limit: CHANGES }),
      app.connected ? get("statistics/outcome") : null,
    ]);
    showCycles(past.cycles);
    showChanges(listing);
    attribute(would, "hidden", !outcome);
    if (!outcome) return;
    text(planned, plan(outcome));
    attribute(which, "hidden", outcome.live);
    cards.update(outcome);
    course.update(outcome);
    risks.update(outcome);
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

export function section(title, aside, ...body) {
  return h(
    "section",
    { class: "panel" },
    h("div", { class: "panel-head" }, h("h2", {}, title), aside),
    body,
  );
}

const fact = (label, value) => h("div", {}, h("dt", {}, label), h("dd", {}, value));
