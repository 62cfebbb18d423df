// Charts as inline SVG: small ones that stretch, larger ones with axes and a readout by pointer or
// arrow keys.

import { attribute, h, svg, text } from "./dom.js";
import { ACTION, ACTIONS, amount, count, date, day, fixed, percent } from "./format.js";

export const series = (history, resource) =>
  resource === "cpu"
    ? { usage: history.cpu_usage, limit: history.cpu_limit, request: history.cpu_request }
    : {
        usage: history.memory_usage_mb,
        limit: history.memory_limit_mb,
        request: history.memory_request_mb,
      };

const round = (value) => Math.round(value * 100) / 100;

/** A pause of so many usual ones is a gap. */
const GAP = 3.5;

/** Runs of moments without a gap between them: first and last index of each. */
function runs(times) {
  const pauses = times.slice(1).map((time, index) => time - times[index]);
  const usual = [...pauses].sort((a, b) => a - b)[Math.floor(pauses.length / 2)] ?? 0;
  const found = [[0, times.length - 1]];
  for (const [index, pause] of pauses.entries()) {
    if (pause <= GAP * usual) continue;
    found.at(-1)[1] = index;
    found.push([index + 1, times.length - 1]);
  }
  return found;
}

/**
 * Columns over one time axis: `kind` is how one is drawn, `step` that a value holds until the next;
 * when in between it has changed is not known, so usage between two moments is never drawn above
 * the larger limit. A gap stays a gap.
 */
function plot(stamps, columns, { width, height, left = 0, top = 1, bottom = 1 }) {
  const times = stamps.map((stamp) => new Date(stamp).getTime());
  const [first, last] = [times[0], times.at(-1)];
  const most = Math.max(...columns.flatMap(({ values }) => values)) * 1.06 || 1;
  const at = (time) => round(left + ((time - first) / (last - first || 1)) * (width - left));
  const x = (index) => at(times[index]);
  const y = (value) => round(top + (1 - value / most) * (height - top - bottom));
  const shapes = columns.flatMap(({ kind, values, step, area }) =>
    runs(times).flatMap(([begin, end]) => {
      const points = [];
      for (let index = begin; index <= end; index += 1) {
        if (step && index > begin) {
          const held = y(Math.max(values[index - 1], values[index]));
          points.push(`${x(index - 1)},${held}`, `${x(index)},${held}`);
        }
        points.push(`${x(index)},${y(values[index])}`);
      }
      const closed = `${x(begin)},${y(0)} ${points.join(" ")} ${x(end)},${y(0)}`;
      return [
        area && svg("polygon", { class: "area", points: closed }),
        svg("polyline", { class: kind, points: points.join(" ") }),
      ];
    }),
  );
  return { shapes, x, y, at, most, first, last };
}

const columnsOf = ({ history, without_limit: none }, resource) => {
  const { usage, limit, request } = series(history, resource);
  return [
    { kind: "usage", values: usage, area: true },
    !none.includes(resource) && { kind: "limit", values: limit, step: true },
    request.some((value) => value > 0) && { kind: "request", values: request, step: true },
  ].filter(Boolean);
};

/** Usage, limit and request of a pod over the last hours; the newest values stand beside it. */
export function sparkline(pod, resource) {
  const { history } = pod;
  const box = { width: 120, height: 30 };
  const frame = {
    class: `spark ${resource}`,
    viewBox: "0 0 120 30",
    preserveAspectRatio: "none",
    role: "img",
  };
  if (history.timestamps.length < 2)
    return svg("svg", { ...frame, "aria-label": "not enough measurements for a chart" });
  const { shapes } = plot(history.timestamps, columnsOf(pod, resource), box);
  const { usage } = series(history, resource);
  const of = amount[resource];
  const [least, most] = [Math.min(...usage), Math.max(...usage)];
  const since = date(history.timestamps[0]);
  const label = `usage from ${of(least)} to ${of(most)} since ${since}`;
  return svg("svg", { ...frame, "aria-label": label }, shapes);
}

/** What the small charts show. */
export const sparkLegend = () =>
  legend([
    ["usage", "usage"],
    ["limit", "limit"],
    ["request", "request"],
  ]);

/** The same, large enough to read off, with what happened meanwhile. */
export function usageChart(pod, resource, events = []) {
  const { history } = pod;
  const title = resource === "cpu" ? "CPU" : "Memory";
  if (history.timestamps.length < 2) {
    return h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, title),
      h("p", { class: "muted" }, "Not enough measurements for a chart yet."),
    );
  }
  const { usage, limit, request } = series(history, resource);
  const of = amount[resource];
  const unlimited = pod.without_limit.includes(resource);
  const says = (index) =>
    `${day(history.timestamps[index])}: ${of(usage[index])} ` +
    `${unlimited ? "without a limit" : `of ${of(limit[index])}`}, ` +
    `${of(request[index])} requested`;
  return figure({
    title,
    resource,
    stamps: history.timestamps,
    columns: columnsOf(pod, resource),
    keys: [
      ["usage", "usage"],
      unlimited ? ["limit", "no limit"] : ["limit", "limit"],
      ["request", request.some((value) => value > 0) ? "request" : "no request"],
      events.some(({ kind }) => kind === "change") && ["change-mark", "changed"],
      events.some(({ kind }) => kind === "kill") && ["kill-mark", "killed for memory"],
    ].filter(Boolean),
    says,
    label: `${title}: usage, limit and request over time`,
    width: Math.min(680, innerWidth - 80),
    events,
  });
}

/** All pods together: what is used, requested and allowed, against the templates. */
export function courseChart(course, resource, width) {
  const { used, request, limit, template_request: template } = course[resource];
  const title = resource === "cpu" ? "CPU" : "Memory";
  const of = amount[resource];
  const says = (index) =>
    `${day(course.timestamps[index])}: ${of(used[index])} used, ${of(request[index])} requested ` +
    `(templates: ${of(template[index])}), limits ${of(limit[index])}`;
  const killed = course.kills
    .map((kills, index) => ({ kills, timestamp: course.timestamps[index] }))
    .filter(({ kills }) => kills > 0);
  const events = killed.map(({ kills, timestamp }) => ({
    kind: "kill",
    timestamp,
    what: `${count(kills)} killed for memory`,
  }));
  return figure({
    title,
    resource,
    stamps: course.timestamps,
    columns: [
      { kind: "usage", values: used, area: true },
      { kind: "limit", values: limit, step: true },
      { kind: "request", values: request, step: true },
      { kind: "template", values: template, step: true },
    ],
    keys: [
      ["usage", "used"],
      ["limit", "limits"],
      ["request", "requested"],
      ["template", "requested by the templates"],
      events.length > 0 && ["kill-mark", "kills"],
    ].filter(Boolean),
    says,
    label: `${title} of all pods over time`,
    width,
    events,
  });
}

function figure({ title, resource, stamps, columns, keys, says, label, width, events }) {
  const height = 170;
  const [left, top, bottom] = [52, 8, 22];
  const of = amount[resource];
  const drawn = plot(stamps, columns, { width, height, left, top, bottom });
  const marks = events
    .map(({ kind, timestamp, what }) => ({ kind, what, time: new Date(timestamp).getTime() }))
    .filter(({ time }) => time >= drawn.first && time <= drawn.last)
    .map(({ kind, what, time }) =>
      svg(
        "line",
        {
          class: `mark ${kind}-mark`,
          x1: drawn.at(time),
          x2: drawn.at(time),
          y1: top,
          y2: height - bottom,
        },
        svg("title", {}, what),
      ),
    );
  return h(
    "figure",
    { class: `chart ${resource}` },
    h("figcaption", {}, title, legend(keys)),
    readable(
      svg(
        "svg",
        { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
        axis(drawn.most, drawn.y, of, width),
        marks,
        drawn.shapes,
        timeAxis(stamps, drawn.x, height),
      ),
      { x: drawn.x, length: stamps.length, says, top, bottom: height - bottom },
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

/** The first and the last moment, with their days. */
function timeAxis(stamps, x, height) {
  return [
    svg("text", { class: "tick", x: x(0), y: height - 5 }, date(stamps[0])),
    svg(
      "text",
      { class: "tick", x: x(stamps.length - 1), y: height - 5, "text-anchor": "end" },
      date(stamps.at(-1)),
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
    return `${day(cycle.timestamp)}: ${counted.join(", ")}`;
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
