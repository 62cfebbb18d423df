// What it brings: saved against the templates, what going live would change, what is at risk.

import { courseChart } from "./charts.js";
import { attribute, h, text } from "./dom.js";
import { amount, count, duration, number, plural } from "./format.js";

const RISKS = 8;

/** Four figures, the first things that are asked for. */
export function outcomeCards() {
  const cards = [
    card("Saved CPU", ({ saved: { cpu_cores: saved, cpu_limit_cores: limits } }) => [
      amount.cpu(saved),
      `cores ${asked(saved)}; limits are ${than(amount.cpu, limits)}`,
    ]),
    card("Saved memory", ({ saved }) => [
      amount.memory(saved.memory_mb),
      `${asked(saved.memory_mb)}; limits are ${than(amount.memory, saved.memory_limit_mb)}` +
        money(saved),
    ]),
    card("At risk", ({ at_risk: risk }) => [
      count(risk.pods),
      risk.pods === 1
        ? "pod near a limit, killed lately or stuck"
        : "pods near a limit, killed lately or stuck",
    ]),
    card("Killed for memory", ({ before_and_after: { dry_run: before, live } }) => [
      count(before.kills + live.kills),
      compared(before, live),
    ]),
  ];
  return {
    nodes: cards.map(({ node }) => node),
    update: (outcome) => {
      for (const { update } of cards) update(outcome);
    },
  };
}

const asked = (saved) =>
  saved < 0 ? "more are requested than by the templates" : "requested less than by the templates";
const than = (of, less) => (less < 0 ? `${of(-less)} higher` : `${of(less)} lower`);
const money = ({ money_a_month: sum }) =>
  sum === null ? "" : `; ${number(sum, 2)} of money a month`;

function compared(before, live) {
  const part = ({ hours, kills, evictions, throttled_seconds: throttled }, label) =>
    hours > 0 &&
    `${label} in ${duration(hours * 3600)}: ${plural(kills, "kill")}, ` +
      `${plural(evictions, "eviction")}, ${duration(throttled)} throttled`;
  return (
    [part(before, "dry run"), part(live, "live")].filter(Boolean).join("; ") || "none seen so far"
  );
}

function card(label, of) {
  const [big, small] = [h("p", { class: "big" }, "–"), h("p", { class: "muted" })];
  return {
    node: h("article", { class: "card" }, h("h2", {}, label), big, small),
    update: (outcome) => {
      const [value, note] = of(outcome);
      text(big, value);
      text(small, note);
    },
  };
}

/** What the newest decisions come to. */
export function plan({ live, plan: { pods, shrink, grow, less, more }, at_risk: risk }) {
  const risky = `${count(risk.pods)} at risk`;
  if (shrink + grow === 0)
    return `The newest decisions keep the limits of all ${plural(pods, "pod")}; ${risky}.`;
  const amounts = (sign, sums) =>
    `${sign}${amount.cpu(sums.cpu_cores)} cores, ${sign}${amount.memory(sums.memory_mb)}`;
  const [verb, begin] = live ? ["", "By the newest decisions"] : ["would ", "Live"];
  return (
    `${begin}, ${count(shrink)} of ${plural(pods, "pod")} ${verb}shrink: ${amounts("−", less)}; ` +
    `${count(grow)} ${verb}grow: ${amounts("+", more)}; ${risky}.`
  );
}

/** All pods over time, against the templates. */
export function coursePanel() {
  const node = h("div", { class: "body" });
  let drawn = "";
  const update = ({ course }) => {
    const key = JSON.stringify(course);
    // Redrawn only when there is something new, and not while somebody reads it off.
    if (key === drawn || node.matches(":focus-within, :hover")) return;
    drawn = key;
    const width = Math.max(280, node.clientWidth);
    node.replaceChildren(
      ...(course.timestamps.length > 1
        ? ["cpu", "memory"].map((resource) => courseChart(course, resource, width))
        : [h("p", { class: "empty" }, "The first cycles are under way.")]),
    );
  };
  return { node, update };
}

/** The containers in danger, each with a way to its pod. */
export function riskPanel() {
  const list = h("ol", { class: "risks" });
  const none = h("p", { class: "empty" }, "Not known yet.");
  const more = h("p", { class: "muted" });
  const update = ({ at_risk: { risks, count: all } }) => {
    const shown = risks.slice(0, RISKS);
    list.replaceChildren(
      ...shown.map(({ namespace, pod_name: pod, container, why }) =>
        h(
          "li",
          {},
          h("a", { href: `#/pods/${namespace}/${pod}` }, pod, h("small", {}, namespace)),
          h("span", {}, container && container !== pod ? `${container}: ${why}` : why),
        ),
      ),
    );
    attribute(none, "hidden", shown.length > 0);
    text(none, "Nothing is at risk.");
    text(more, all > shown.length ? `and ${count(all - shown.length)} more` : "");
  };
  return { node: h("div", {}, list, none, more), update };
}
