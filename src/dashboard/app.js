// The frame: views by address, a heartbeat, what the service says of itself, light and dark.

import { ApiError, base, get, Unreachable, writes } from "./api.js";
import { changes } from "./changes.js";
import { configuration } from "./configuration.js";
import { decisions } from "./decisions.js";
import { confirm } from "./dialogs.js";
import { attribute, h, icon, text } from "./dom.js";
import { day, duration, number, zone } from "./format.js";
import { model } from "./model.js";
import { overview } from "./overview.js";
import { pods } from "./pods.js";
import { workloads } from "./workloads.js";

const VIEWS = {
  overview: [overview, "Overview", "M4 4h7v7H4zM13 4h7v4h-7zM13 10h7v10h-7zM4 13h7v7H4z"],
  workloads: [workloads, "Workloads", "M12 4l8 4-8 4-8-4zM4 12l8 4 8-4M4 16l8 4 8-4"],
  pods: [pods, "Pods", "M12 3l8 4.5v9L12 21l-8-4.500v-9zM4 7.500l8 4.500 8-4.500M12 12v9"],
  changes: [changes, "Changes", "M4 8h13M13 4l4 4-4 4M20 16H7M11 12l-4 4 4 4"],
  decisions: [decisions, "Decisions", "M5 6h2M10 6h9M5 12h2M10 12h9M5 18h2M10 18h9"],
  configuration: [configuration, "Configuration", "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4"],
  model: [
    model,
    "Model",
    "M5 7a2 2 0 1 0 .01 0M5 17a2 2 0 1 0 .01 0M12 12a2 2 0 1 0 .01 0M19 12a2 2 0 1 0 .01 0" +
      "M7 10l3 3M7 18l3-3M14 14h3",
  ],
};
const HEARTBEAT = 3;

const byId = (id) => document.getElementById(id);
const app = {
  statistics: null,
  autoscale: null,
  config: null,
  connected: false,
  query: () => Object.fromEntries(new URLSearchParams(location.hash.split("?")[1])),
  setQuery,
  refresh,
  loopSays,
};
let view = null;
let viewName = "";
/** Of the view, without what is opened over it. */
let address = "";
let lastAnswer = null;
/** By the service's clock, when what is shown is from. */
let shownFrom = "";
let timer;

const wantedPath = () => location.hash.replace(/^#\/?/, "").split("?")[0];

function wantedView() {
  const [wanted] = wantedPath().split("/").map(decodeURIComponent);
  return wanted in VIEWS ? wanted : "overview";
}

function setQuery(values) {
  const kept = Object.entries(values).filter(([, value]) => value !== "" && value !== undefined);
  const query = new URLSearchParams(kept).toString();
  address = `#/${viewName}${query && `?${query}`}`;
  // A link may have been followed a moment ago: another view is on its way then.
  if (wantedView() === viewName) history.replaceState(null, "", address);
}

function loopSays() {
  const { enabled, running, interval_seconds: interval } = app.autoscale;
  if (running) return `The autoscaler runs a cycle every ${duration(interval)}.`;
  return enabled ? "The autoscaler waits for a cluster." : "The autoscaler is stopped.";
}

// --- the frame -----------------------------------------------------------------------------------

const title = h("h1", {}, "");
const mode = h("span", { class: "pill mode" }, "");
const loop = h("span", { class: "pill loop" }, "");
const cluster = h("p", { class: "where" }, "");
/** Which cluster it is, if it is no real one, and when what is shown is from. */
const asOf = h("p", { class: "as-of muted" }, "");
const links = Object.entries(VIEWS).map(([name, [, label, path]]) =>
  h("a", { href: `#/${name}`, "data-view": name }, icon(path), h("span", {}, label)),
);
const theme = h("button", { type: "button", class: "quiet theme", click: nextTheme }, "");
const THEMES = {
  "": ["Theme: system", "light"],
  light: ["Theme: light", "dark"],
  dark: ["Theme: dark", ""],
};

function showTheme() {
  const chosen = localStorage.getItem("dqn-scaler theme") ?? "";
  attribute(document.documentElement, "data-theme", chosen || null);
  text(theme, (THEMES[chosen] ?? THEMES[""])[0]);
}

function nextTheme() {
  const chosen = localStorage.getItem("dqn-scaler theme") ?? "";
  localStorage.setItem("dqn-scaler theme", (THEMES[chosen] ?? THEMES[""])[1]);
  showTheme();
}

function frame() {
  showTheme();
  byId("nav").append(...links);
  byId("rail-end").append(cluster, theme);
  byId("header").append(title, asOf, h("div", { class: "pills" }, mode, loop));
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
}

function showStatus() {
  const dry = app.statistics.system_status.dry_run_mode;
  attribute(mode, "data-mode", dry ? "dry" : "live");
  text(mode, dry ? "Dry run: nothing is changed" : "Live: pods are resized");
  const { enabled, running } = app.autoscale;
  attribute(loop, "data-state", running ? "on" : "off");
  text(
    loop,
    running
      ? `Autoscaler on · ${duration(app.autoscale.interval_seconds)}`
      : enabled
        ? "Autoscaler waits"
        : "Autoscaler off",
  );
}

// --- what stands in the way ----------------------------------------------------------------------

function banner(key, content) {
  const shown = byId("banners").querySelector(`[data-key="${key}"]`);
  if (!content) return shown?.remove();
  if (!shown)
    byId("banners").append(h("section", { class: `banner ${key}`, "data-key": key }, content()));
  return undefined;
}

/** A banner whose message may change while it stays; none without a message. */
function report(key, title, message) {
  banner(key, message ? () => [h("h2", {}, title), h("p", {})] : null);
  if (message) text(byId("banners").querySelector(`[data-key="${key}"] p`), message);
}

const noCluster = () => [
  h("h2", {}, "No cluster is connected"),
  h("p", {}, "The service runs, and keeps trying to connect. To connect it:"),
  h(
    "ul",
    {},
    h(
      "li",
      {},
      "inside a cluster, run it as a pod with its ServiceAccount: ",
      h("code", {}, "kubectl apply -k deploy/overlays/namespaced"),
    ),
    h(
      "li",
      {},
      "outside, give it a kubeconfig that works: ",
      h("code", {}, "KUBECONFIG=~/.kube/config dqn-scaler --in-cluster=false"),
    ),
    h(
      "li",
      {},
      "to look around first, let it simulate one: ",
      h("code", {}, "dqn-scaler --simulate --speed 60"),
    ),
  ),
  h("p", { class: "muted" }, "Its log says with each attempt why there is no cluster yet."),
];

function gone(error) {
  const ago = duration((Date.now() - lastAnswer) / 1000);
  const since = shownFrom
    ? ` The last answer came ${ago} ago; what is shown is from then: ${day(shownFrom)}.`
    : "";
  const message = `${error.message}.${since} Trying again …`;
  report("gone", "The service does not answer", message);
  attribute(document.documentElement, "data-stale", true);
}

function failed(error) {
  const since = shownFrom && ` What is shown is from ${day(shownFrom)}.`;
  report("failed", "The service answers with an error", `${error.message}.${since}`);
}

function takesChanges(refusal) {
  banner("refused", null);
  if (refusal && app.connected)
    banner("refused", () => [
      h("h2", {}, refusal),
      h("p", {}, "It can be looked at, not changed from here."),
    ]);
}

/** The clock of a simulated cluster may be far from the one on the wall. */
function showTime(ready) {
  const speed = ready?.cluster?.simulated_speed;
  const times = speed > 1 ? `, ${number(speed)} times as fast as the clock on the wall` : "";
  const simulated = speed ? `Simulated cluster${times} · ` : "";
  text(asOf, `${simulated}as of ${day(shownFrom)} ${zone(shownFrom)}`);
  attribute(asOf, "data-simulated", Boolean(speed));
}

/** What `/readyz` knows beyond the statistics: which replica this is, and what it decides by. */
function showReadiness(ready) {
  const follows = ready?.role === "follower";
  const leader = ready?.leader ? `${ready.leader} leads.` : "At the moment no replica leads.";
  banner(
    "follower",
    follows
      ? () => [
          h("h2", {}, "This replica follows"),
          h("p", {}, `${leader} Here it can be looked at; changes are the leader's to make.`),
        ]
      : null,
  );
  banner(
    "read-only",
    app.config.read_only
      ? () => [
          h("h2", {}, "The service is read-only"),
          h("p", {}, "It goes on as it is configured; nothing can be changed from here."),
        ]
      : null,
  );
  const age = ready?.metrics?.age_seconds;
  const stopped =
    app.autoscale.running && age > app.config.metrics_max_age + app.autoscale.interval_seconds;
  banner(
    "metrics",
    stopped
      ? () => [
          h("h2", {}, "There are no fresh metrics"),
          h(
            "p",
            {},
            "Pods without them are skipped: nothing is decided on a guess. " +
              "Is the metrics server in order?",
          ),
        ]
      : null,
  );
  const { never_read = [], unreadable = [] } = ready?.watch ?? {};
  report(
    "unread",
    "Pods are held back: annotations or other autoscalers cannot be read",
    never_read.join(" · "),
  );
  report(
    "unreadable",
    "Namespaces cannot be read: their pods are left alone",
    unreadable.map(({ namespace, reason }) => `${namespace}: ${reason}`).join(" · "),
  );
  const breakers = ready?.circuit_breakers ?? [];
  report(
    "unanswering",
    "What does not answer: cuts wait there, what a pod is in need of is still sent",
    breakers
      .map(({ kind, name, open_since }) => `${kind} ${name}, since ${day(open_since)}`)
      .join(" · "),
  );
  text(
    cluster,
    [base.host, app.connected ? ready?.role !== "alone" && ready?.role : "no cluster"]
      .filter(Boolean)
      .join(" · "),
  );
}

/** An answer that says so is no failure; none at all is one. */
function notReady(error) {
  if (error instanceof Unreachable) throw error;
  return null;
}

// --- the heartbeat -------------------------------------------------------------------------------

let underWay = null;
let again = false;

/** One refresh at a time; one that is asked for meanwhile comes right after. */
function refresh() {
  again = underWay !== null;
  underWay ??= beat().finally(() => {
    underWay = null;
    if (again) refresh();
  });
  return underWay;
}

async function beat() {
  clearTimeout(timer);
  try {
    const [{ statistics }, autoscale, config] = await Promise.all([
      get("statistics"),
      get("autoscale/status"),
      get("config"),
    ]);
    Object.assign(app, {
      statistics,
      autoscale,
      config,
      connected: statistics.system_status.kubernetes_available,
    });
    lastAnswer = Date.now();
    attribute(document.documentElement, "data-stale", null);
    banner("gone", null);
    banner("no-cluster", app.connected ? null : noCluster);
    showStatus();
    const ready = app.connected ? await get("readyz").catch(notReady) : null;
    showReadiness(ready);
    if (!view) route();
    await view.refresh();
    shownFrom = statistics.timestamp;
    showTime(ready);
    banner("failed", null);
  } catch (error) {
    if (error instanceof Unreachable) gone(error);
    else failed(error);
    if (!(error instanceof Unreachable || error instanceof ApiError)) console.error(error);
  }
  if (!document.hidden) timer = setTimeout(refresh, HEARTBEAT * 1000);
}

// --- views by address ----------------------------------------------------------------------------

/** `#/view?query`, or `#/pods/namespace/name`, which is a pod opened over the list. */
async function route() {
  const [, ...opened] = wantedPath().split("/").map(decodeURIComponent);
  const name = wantedView();
  if (view?.unsaved?.() && name !== viewName && !(await leaves())) return;
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  const over = name in { pods, workloads } && opened.length > 1;
  if (viewName !== name || (!over && location.hash !== address)) mount(name, over);
  if (over && app.connected) openOver(opened);
}

/** What was typed and not saved is not lost without a word. */
async function leaves() {
  const wanted = location.hash;
  history.replaceState(null, "", address);
  const sure = await confirm({
    title: "Leave without saving?",
    text: "What you have changed here is not saved.",
    action: "Leave",
  });
  if (sure) history.replaceState(null, "", wanted);
  return sure;
}

async function openOver(names) {
  const opened = location.hash;
  await view.opened(...names);
  if (location.hash === opened) history.replaceState(null, "", address || `#/${viewName}`);
}

function mount(name, over) {
  viewName = name;
  address = over ? `#/${name}` : location.hash;
  view = VIEWS[name][0](app);
  text(title, view.title);
  attribute(document.documentElement, "data-view", name);
  document.title = `${view.title} · dqn-scaler`;
  for (const link of links) attribute(link, "aria-current", link.dataset.view === name && "page");
  byId("main").replaceChildren(view.node);
  window.scrollTo(0, 0);
  refresh();
}

writes.heard = takesChanges;
frame();
byId("main").replaceChildren(h("p", { class: "empty" }, `Asking ${base.host} …`));
addEventListener("hashchange", () => app.statistics && route());
addEventListener("beforeunload", (event) => view?.unsaved?.() && event.preventDefault());
addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, dialog");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = byId("main").querySelector("input[type=search]");
  if (!search) return;
  event.preventDefault();
  search.focus();
});
document.addEventListener("visibilitychange", () => !document.hidden && refresh());
refresh();
