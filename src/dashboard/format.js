// Numbers and times as an operator reads them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const digits = (count) => new Intl.NumberFormat("en", { maximumFractionDigits: count });

export const count = (value) => whole.format(value);
export const percent = (share, places = 0) => `${digits(places).format(share * 100)} %`;
export const number = (value, places = 2) => digits(places).format(value).replace("-", "−");
/** As many digits for every number of a column. */
export const fixed = (value, places) => value.toFixed(places).replace("-", "−");
export const plural = (value, one, many = `${one}s`) =>
  `${count(value)} ${value === 1 ? one : many}`;

/** Cores as Kubernetes writes them: 250m, 1.6. */
export function cores(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0) return `−${cores(-value)}`;
  if (value === 0) return "0";
  if (value < 0.9995) return `${whole.format(value * 1000)}m`;
  return digits(2).format(value);
}

/** MiB as Kubernetes writes them: 512Mi, 1.5Gi. */
export function memory(mib) {
  if (mib === null || mib === undefined) return "–";
  if (mib < 0) return `−${memory(-mib)}`;
  if (mib === 0) return "0";
  if (mib >= 1023.5) return `${digits(2).format(mib / 1024)}Gi`;
  return `${digits(mib < 10 ? 1 : 0).format(mib)}Mi`;
}

export const amount = { cpu: cores, memory };

export function duration(seconds) {
  const [value, unit] =
    seconds < 90
      ? [Math.round(seconds), "s"]
      : seconds < 5400
        ? [Math.round(seconds / 60), "min"]
        : seconds < 129600
          ? [number(seconds / 3600, seconds < 36000 ? 1 : 0), "h"]
          : [Math.round(seconds / 86400), "days"];
  return `${value}\u00a0${unit}`;
}

/** How long before `now` (both timestamps of the service's own clock). */
export function ago(then, now) {
  const seconds = (new Date(now) - new Date(then)) / 1000;
  return seconds < 2 ? "just now" : `${duration(seconds)} ago`;
}

const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const minute = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const second = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
export const time = (stamp) => clock.format(new Date(stamp));
export const date = (stamp) => minute.format(new Date(stamp));
/** With the seconds. */
export const day = (stamp) => second.format(new Date(stamp));
const zoned = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" });
/** The time zone that all times are shown in. */
export const zone = (stamp) =>
  zoned.formatToParts(new Date(stamp)).find((part) => part.type === "timeZoneName").value;
/** As an amount that goes up or down: +1.5, −300Mi. */
export const signed = (of, value) => (value < 0 ? `−${of(-value)}` : `+${of(value)}`);

export const ACTIONS = ["DECREASE", "MAINTAIN", "INCREASE"];
export const ACTION = {
  DECREASE: { sign: "↓", word: "decrease", class: "decrease" },
  MAINTAIN: { sign: "=", word: "maintain", class: "maintain" },
  INCREASE: { sign: "↑", word: "increase", class: "increase" },
};
export const STATUS = {
  success: "applied",
  dry_run: "dry run",
  no_action_needed: "no change",
  skipped: "skipped",
  failed: "failed",
};
export const words = (name) => name.replaceAll("_", " ");
