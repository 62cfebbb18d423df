// Charts as inline SVG: small ones that stretch, larger ones with axes and a readout by pointer or
// arrow keys.

import { attribute, h, svg, text } from "./dom.js";
import { ACTION, ACTIONS, amount, count, date, fixed, percent, time } from "./format.js";

export const series = (history, resource) =>
  resource === "cpu"
    ? { usage: history.cpu_usage, limit: history.cpu_limit }
    : { usage: history.memory_usage_mb, limit: history.memory_limit_mb };

const points = (values, x, y) => values.map((value, index) => `${x(index)},${y(value)}`).join(" ");

/** A limit holds until the next one: steps. */
const steps = (values, x, y) =>
  values
    .map(
      (value, index) =>
        `${index === 0 ? "" : `${x(index)},${y(values[index - 1])} `}${x(index)},${y(value)}`,
    )
    .join(" ");

function lines(history, resource, request, { width, height, left = 0, top = 1, bottom = 1 }) {
  const { usage, limit } = series(history, resource);
  const times = history.timestamps.map((stamp) => new Date(stamp).getTime());
  const [first, last] = [times[0], times.at(-1)];
  const most = Math.max(...usage, ...limit, request) * 1.06 || 1;
  const x = (index) =>
    round(left + ((times[index] - first) / (last - first || 1)) * (width - left));
  const y = (value) => round(top + (1 - value / most) * (height - top - bottom));
  const area = `${x(0)},${y(0)} ${points(usage, x, y)} ${x(usage.length - 1)},${y(0)}`;
  const shapes = [
    svg("polygon", { class: "area", points: area }),
    svg("polyline", { class: "usage", points: points(usage, x, y) }),
    svg("polyline", { class: "limit", points: steps(limit, x, y) }),
    request > 0 &&
      svg("line", { class: "request", x1: left, x2: width, y1: y(request), y2: y(request) }),
  ];
  return { shapes, x, y, most, times, usage, limit };
}

const round = (value) => Math.round(value * 100) / 100;

/** Usage, limit and request of a pod over the last hours; the newest values stand beside it. */
export function sparkline(pod, resource) {
  const { history, resources } = pod;
  const request = resource === "cpu" ? resources.cpu_request : resources.memory_request_mb;
  const box = { width: 120, height: 30 };
  const frame = {
    class: `spark ${resource}`,
    viewBox: "0 0 120 30",
    preserveAspectRatio: "none",
    role: "img",
  };
  if (history.timestamps.length < 2)
    return svg("svg", { ...frame, "aria-label": "not enough measurements for a chart" });
  const { shapes, usage } = lines(history, resource, request, box);
  const of = amount[resource];
  const [least, most] = [Math.min(...usage), Math.max(...usage)];
  const since = date(history.timestamps[0]);
  const label = `usage from ${of(least)} to ${of(most)} since ${since}`;
  return svg("svg", { ...frame, "aria-label": label }, shapes);
}

/** The same, large enough to read off. */
export function usageChart(pod, resource) {
  const { history, resources } = pod;
  const request = resource === "cpu" ? resources.cpu_request : resources.memory_request_mb;
  const title = resource === "cpu" ? "CPU" : "Memory";
  if (history.timestamps.length < 2) {
    return h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, title),
      h("p", { class: "muted" }, "Not enough measurements for a chart yet."),
    );
  }
  const [width, height] = [Math.min(680, innerWidth - 80), 170];
  const of = amount[resource];
  const drawn = lines(history, resource, request, { width, height, left: 52, top: 8, bottom: 22 });
  const says = (index) =>
    `${time(history.timestamps[index])}: ${of(drawn.usage[index])} of ${of(drawn.limit[index])}`;
  return h(
    "figure",
    { class: `chart ${resource}` },
    h(
      "figcaption",
      {},
      title,
      legend([
        ["usage", "usage"],
        ["limit", "limit"],
        ["request", request > 0 ? `request ${of(request)}` : "no request"],
      ]),
    ),
    readable(
      svg(
        "svg",
        {
          viewBox: `0 0 ${width} ${height}`,
          role: "img",
          "aria-label": `${title}: usage, limit and request over time`,
        },
        axis(drawn.most, drawn.y, of, width),
        drawn.shapes,
        timeAxis(history.timestamps, drawn.x, height),
      ),
      { x: drawn.x, length: drawn.usage.length, says, top: 8, bottom: height - 22 },
    ),
  );
}

function axis(most, y, of, width) {
  return niceTicks(most, of === amount.memory ? [2, 1, 2] : [10, 1, 2, 5, 10]).map((value) => [
    svg("line", { class: "grid", x1: 52, x2: width, y1: y(value), y2: y(value) }),
    svg("text", { class: "tick", x: 46, y: y(value) + 4, "text-anchor": "end" }, of(value)),
  ]);
}

/** Three or four round steps: 1, 2 or 5 times a power of ten, or a power of two for bytes. */
function niceTicks(most, [base, ...factors] = [10, 1, 2, 5, 10]) {
  const rough = most / 4.5;
  const power = base ** Math.floor(Math.log(rough) / Math.log(base));
  const step = factors.map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let value = 0; value <= most; value += step) ticks.push(value);
  return ticks;
}

function timeAxis(stamps, x, height) {
  const long = new Date(stamps.at(-1)) - new Date(stamps[0]) > 20 * 3600e3;
  const label = (stamp) => (long ? date(stamp) : time(stamp).slice(0, 5));
  return [
    svg("text", { class: "tick", x: x(0), y: height - 5 }, label(stamps[0])),
    svg(
      "text",
      { class: "tick", x: x(stamps.length - 1), y: height - 5, "text-anchor": "end" },
      label(stamps.at(-1)),
    ),
  ];
}

export const legend = (entries) =>
  h(
    "span",
    { class: "legend" },
    entries.map(([kind, label]) =>
      h("span", {}, h("i", { class: `key ${kind}`, "aria-hidden": "true" }), label),
    ),
  );

/** Lets pointer and arrow keys walk over a chart and says what is there. */
function readable(chart, { x, length, says, top, bottom }) {
  const readout = h("output", { class: "readout", "aria-live": "polite" });
  const cursor = svg("line", { class: "cursor", y1: top, y2: bottom, x1: -9, x2: -9 });
  chart.append(cursor);
  let index = length - 1;
  const show = (wanted) => {
    index = Math.max(0, Math.min(length - 1, wanted));
    attribute(cursor, "x1", x(index));
    attribute(cursor, "x2", x(index));
    text(readout, says(index));
  };
  const nearest = (event) => {
    const { left, width } = chart.getBoundingClientRect();
    const at = ((event.clientX - left) / width) * chart.viewBox.baseVal.width;
    let best = 0;
    for (let other = 1; other < length; other += 1)
      if (Math.abs(x(other) - at) < Math.abs(x(best) - at)) best = other;
    return best;
  };
  const moves = {
    ArrowLeft: -1,
    ArrowRight: 1,
    PageUp: -10,
    PageDown: 10,
    Home: -Infinity,
    End: Infinity,
  };
  return h(
    "div",
    {
      class: "readable",
      tabindex: "0",
      role: "group",
      "aria-label": "Chart: arrow keys read it",
      pointermove: (event) => show(nearest(event)),
      focus: () => show(index),
      keydown: (event) => {
        if (!(event.key in moves)) return;
        event.preventDefault();
        show(index + moves[event.key]);
      },
    },
    chart,
    readout,
  );
}

const PANELS = [
  {
    title: "Changes",
    kinds: [
      ["success", "applied"],
      ["dry_run", "would be applied"],
      ["failed", "failed"],
    ],
  },
  {
    title: "Left alone",
    kinds: [
      ["skipped", "skipped"],
      ["no_action_needed", "no change needed"],
    ],
  },
];
const FIELD = { success: "applied" };
const value = (cycle, kind) => cycle[FIELD[kind] ?? kind];

/**
 * Two charts over one time axis, each with a scale of its own: few pods are changed, many are left
 * alone.
 */
export function timeline(cycles, width) {
  const [panel, gap, left] = [104, 26, 34];
  const height = 2 * panel + gap + 22;
  const times = cycles.map((cycle) => new Date(cycle.timestamp).getTime());
  const [first, last] = [times[0], times.at(-1)];
  const inner = width - left - 10;
  const thick = Math.max(1.5, Math.min(16, (inner / cycles.length) * 0.72));
  const x = (index) =>
    round(left + thick / 2 + ((times[index] - first) / (last - first || 1)) * (inner - thick));
  const shapes = PANELS.map(({ title, kinds }, row) => {
    const top = row * (panel + gap) + 14;
    const total = (cycle) => kinds.reduce((sum, [kind]) => sum + value(cycle, kind), 0);
    const most = Math.max(1, ...cycles.map(total)) * 1.05;
    const y = (amount) => round(top + (1 - amount / most) * (panel - 14));
    const bars = cycles.map((cycle, index) => {
      let below = 0;
      return kinds.map(([kind]) => {
        const from = below;
        below += value(cycle, kind);
        const box = {
          x: round(x(index) - thick / 2),
          width: round(thick),
          y: y(below),
          height: round(y(from) - y(below)),
        };
        return below > from && svg("rect", { class: kind, ...box });
      });
    });
    const ticks = niceTicks(most)
      .filter(Number.isInteger)
      .map((tick) => [
        svg("line", { class: "grid", x1: left, x2: width, y1: y(tick), y2: y(tick) }),
        svg(
          "text",
          { class: "tick", x: left - 6, y: y(tick) + 4, "text-anchor": "end" },
          count(tick),
        ),
      ]);
    return [svg("text", { class: "panel", x: left, y: top - 4 }, title), ticks, bars];
  });
  const says = (index) => {
    const cycle = cycles[index];
    const parts = PANELS.flatMap(({ kinds }) => kinds).filter(([kind]) => value(cycle, kind) > 0);
    const counted = parts.map(([kind, label]) => `${count(value(cycle, kind))} ${label}`);
    return `${time(cycle.timestamp)}: ${counted.join(", ")}`;
  };
  const chart = svg(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": "Changes applied, and pods left alone, over time",
    },
    shapes,
    timeAxis(
      cycles.map((cycle) => cycle.timestamp),
      x,
      height,
    ),
  );
  return readable(chart, { x, length: cycles.length, says, top: 14, bottom: height - 22 });
}

export const timelineLegend = () => legend(PANELS.flatMap(({ kinds }) => kinds));

/** How often each action was taken: one bar cut into three. */
export function distribution(label, counts) {
  const total = ACTIONS.reduce((sum, action) => sum + counts[action], 0);
  const share = (action) => (total > 0 ? counts[action] / total : 0);
  return h(
    "div",
    { class: "distribution" },
    h("h3", {}, label),
    h(
      "div",
      { class: "bar", "aria-hidden": "true" },
      ACTIONS.map((action) =>
        h("i", { class: ACTION[action].class, style: { flexGrow: share(action) } }),
      ),
    ),
    h(
      "dl",
      {},
      ACTIONS.map((action) =>
        h(
          "div",
          {},
          h(
            "dt",
            {},
            h("i", { class: `key ${ACTION[action].class}`, "aria-hidden": "true" }),
            ACTION[action].word,
          ),
          h(
            "dd",
            {},
            count(counts[action]),
            h("small", {}, total > 0 ? percent(share(action), 1) : "–"),
          ),
        ),
      ),
    ),
  );
}

/**
 * The Q values of one head. Only their order and distance count: the longest bar is what the
 * network wants.
 */
export function qBars(label, values, predicted, confidence) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const bar = (value) => ({ width: `${8 + ((value - low) / (high - low || 1)) * 92}%` });
  return h(
    "div",
    { class: "q-values" },
    h("h4", {}, label, h("small", {}, `confidence ${percent(confidence)}`)),
    ACTIONS.map((action, index) =>
      h(
        "div",
        { class: action === predicted ? "q best" : "q" },
        h("span", {}, ACTION[action].word),
        h(
          "span",
          { class: "track", "aria-hidden": "true" },
          h("i", { class: ACTION[action].class, style: bar(values[index]) }),
        ),
        h("span", { class: "number" }, fixed(values[index], 3)),
      ),
    ),
  );
}
