// The configuration's editable fields: how each is shown, read, checked and compared.

import { plural } from "./format.js";

const lines = (source) => [
  ...new Set(
    source
      .split(/[\n,]/)
      .map((line) => line.trim())
      .filter(Boolean),
  ),
];

const integer = (least, most, unit) => ({
  kind: "amount",
  unit,
  step: 1,
  write: String,
  read: (source) => {
    const value = Number(source);
    if (source.trim() === "" || !Number.isInteger(value) || value < least || value > most)
      throw new Error(`A whole number from ${least} to ${most} is wanted.`);
    return value;
  },
  says: (value) => plural(value, unit.replace(/s$/, "")),
});

const list = (check) => ({
  kind: "lines",
  write: (value) => value.join("\n"),
  read: (source) => {
    const names = lines(source);
    check(names);
    return names;
  },
  differs: (from, to) => [
    ...to.filter((name) => !from.includes(name)).map((name) => `+ ${name}`),
    ...from.filter((name) => !to.includes(name)).map((name) => `− ${name}`),
  ],
});

const onOff = { kind: "switch", says: (value) => (value ? "on" : "off") };

export const FIELDS = [
  { name: "dry_run", label: "Dry run", help: "Decide and explain, change nothing.", ...onOff },
  {
    name: "auto_scale_enabled",
    label: "Autoscaler",
    help: "Run a cycle again and again.",
    ...onOff,
  },
  {
    name: "auto_scale_interval",
    label: "Interval",
    help: "Between two cycles.",
    ...integer(1, 86400, "seconds"),
  },
  {
    name: "scaling_cooldown",
    label: "Cooldown",
    help: "Between two changes of a pod; an urgent increase does not wait.",
    ...integer(0, 1440, "minutes"),
  },
  {
    name: "scale_factor",
    label: "Scale factor",
    help: "Share of the limit that one step adds or takes.",
    kind: "amount",
    step: "any",
    write: String,
    read: (source) => {
      const value = Number(source);
      if (!(source.trim() !== "" && value > 0 && value < 1))
        throw new Error("A number above 0 and below 1 is wanted.");
      return value;
    },
    says: String,
  },
  {
    name: "namespaces",
    label: "Namespaces",
    help: "Watched and scaled; one a line.",
    ...list((names) => {
      if (names.length === 0) throw new Error("At least one namespace is wanted.");
      const bad = names.find(
        (name) => name.length > 63 || !/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(name),
      );
      if (bad) throw new Error(`“${bad}” is not a valid namespace name.`);
    }),
  },
  {
    name: "excluded_deployments",
    label: "Excluded Deployments",
    help: "Never touched; one a line.",
    ...list(() => {}),
  },
  {
    name: "excluded_labels",
    label: "Excluded labels",
    help: "Pods that carry one are never touched; key=value, one a line.",
    kind: "lines",
    write: (value) =>
      Object.entries(value)
        .map((pair) => pair.join("="))
        .join("\n"),
    read: (source) => {
      const bad = lines(source).find((line) => !/^[^=\s]+=\S*$/.test(line));
      if (bad) throw new Error(`“${bad}” is not of the form key=value.`);
      return Object.fromEntries(lines(source).map((line) => line.split(/=(.*)/s).slice(0, 2)));
    },
    differs: (from, to) => {
      const pairs = (value) => Object.entries(value).map((pair) => pair.join("="));
      return [
        ...pairs(to)
          .filter((pair) => !pairs(from).includes(pair))
          .map((pair) => `+ ${pair}`),
        ...pairs(from)
          .filter((pair) => !pairs(to).includes(pair))
          .map((pair) => `− ${pair}`),
      ];
    },
  },
];

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const sorted = (value) =>
  Array.isArray(value) || value === null || typeof value !== "object"
    ? value
    : Object.fromEntries(Object.entries(value).sort());

/** What would change, in words; nothing when the values are the same. */
export function difference(field, from, to) {
  if (same(sorted(from), sorted(to))) return null;
  const parts = field.differs
    ? field.differs(from, to)
    : [`${field.says(from)} → ${field.says(to)}`];
  return parts.length > 0 ? parts.join(", ") : "another order";
}
