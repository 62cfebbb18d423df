// The configuration: what can be changed while the service runs, checked before it is sent, and
// what that changes.

import { post } from "./api.js";
import { goesLive } from "./controls.js";
import { refused, toast } from "./dialogs.js";
import { attribute, busy, h, text } from "./dom.js";
import { difference, FIELDS } from "./fields.js";
import { time } from "./format.js";
import { section } from "./overview.js";

export function configuration(app) {
  let config = null;
  const fields = FIELDS.map((field) => editor(field, () => review()));
  const changes = h("ul", { class: "diff", "aria-live": "polite" });
  const save = h("button", { type: "submit", class: "primary", disabled: true }, "Save");
  const reset = h(
    "button",
    {
      type: "button",
      disabled: true,
      click: () => {
        for (const field of fields) field.show(config[field.name]);
        review();
      },
    },
    "Undo",
  );
  const log = h("ol", { class: "changelog" });
  const noLog = h("p", { class: "empty" }, "Nothing was saved in this tab.");
  const fixed = h("dl", { class: "facts columns" });
  const form = h(
    "form",
    {
      id: "configuration",
      class: "panel form",
      novalidate: true,
      submit: (event) => {
        event.preventDefault();
        submit();
      },
    },
    h(
      "div",
      { class: "panel-head" },
      h("h2", {}, "Can be changed now"),
      h("span", { class: "muted" }, "in force at once"),
    ),
    fields.map((field) => field.node),
  );
  const reviewed = h(
    "section",
    { class: "panel review", "aria-label": "Changes" },
    h("div", { class: "panel-head" }, h("h2", {}, "What changes")),
    changes,
    h("div", { class: "buttons" }, reset, save),
    h("h3", {}, "Saved here"),
    log,
    noLog,
  );
  save.setAttribute("form", form.id);
  const node = h(
    "div",
    { class: "view" },
    h("div", { class: "split form-split" }, form, reviewed),
    section(
      "Set at the start",
      h("span", { class: "muted" }, "by file, environment or command line"),
      fixed,
    ),
  );

  function pending() {
    return fields
      .map((field) => ({ field, value: field.value(), change: field.change(config) }))
      .filter(({ change }) => change !== null);
  }

  const unsaved = () => config !== null && (pending().length > 0 || fields.some((f) => f.fault()));

  function review() {
    if (!config) return;
    const found = pending();
    const faulty = fields.some((field) => field.fault());
    changes.replaceChildren(
      ...(found.length > 0
        ? found.map(({ field, change }) => h("li", {}, h("b", {}, field.label), ` ${change}`))
        : [h("li", { class: "muted" }, "Nothing yet.")]),
    );
    attribute(save, "disabled", found.length === 0 || faulty);
    attribute(reset, "disabled", found.length === 0 && !faulty);
  }

  async function submit() {
    const found = pending();
    if (found.length === 0 || fields.some((field) => field.fault())) return;
    const live = found.some(({ field, value }) => field.name === "dry_run" && value === false);
    if (live && !(await goesLive(fields.find((field) => field.name === "namespaces").value())))
      return;
    await busy(save, async () => {
      try {
        const answer = await post(
          "config",
          Object.fromEntries(found.map(({ field, value }) => [field.name, value])),
        );
        take(answer.config, true);
        const said = found.map(({ field, change }) => `${field.label} ${change}`);
        log.prepend(
          h(
            "li",
            {},
            h("time", {}, time(app.statistics.timestamp)),
            said.map((line) => h("span", {}, line)),
          ),
        );
        toast(`Saved: ${said.join("; ")}`);
      } catch (error) {
        const named = fields.find((field) => error.message.startsWith(`${field.name}:`));
        if (named) named.complain(error.message.slice(named.name.length + 2));
        else refused(error);
      }
    });
    await app.refresh();
    attribute(noLog, "hidden", log.childElementCount > 0);
  }

  /** Shows what holds; a field that is being edited keeps what was typed. */
  function take(next, saved) {
    for (const field of fields) {
      if (saved || !config || (field.change(config) === null && !field.fault()))
        field.show(next[field.name]);
    }
    config = next;
    const rest = Object.entries(next).filter(
      ([name]) => !FIELDS.some((field) => field.name === name),
    );
    fixed.replaceChildren(
      ...rest.map(([name, value]) =>
        h(
          "div",
          {},
          h("dt", {}, h("code", {}, name)),
          h(
            "dd",
            {},
            typeof value === "object" && value !== null ? JSON.stringify(value) : String(value),
          ),
        ),
      ),
    );
    review();
  }

  return { title: "Configuration", node, refresh: () => take(app.config), unsaved };
}

function editor(field, changed) {
  const id = `field-${field.name}`;
  const error = h("p", { class: "error", id: `${id}-error`, "aria-live": "polite" });
  const common = { id, name: field.name, "aria-describedby": `${id}-help ${id}-error` };
  const input =
    field.kind === "switch"
      ? h("input", { ...common, type: "checkbox", role: "switch", change: edited })
      : field.kind === "lines"
        ? h("textarea", { ...common, rows: 3, spellcheck: "false", input: edited })
        : h("input", {
            ...common,
            type: "number",
            step: field.step,
            inputmode: "decimal",
            input: edited,
          });
  let fault = null;

  function read() {
    return field.kind === "switch" ? input.checked : field.read(input.value);
  }

  function complain(message) {
    fault = message;
    text(error, message ?? "");
    attribute(input, "aria-invalid", message && "true");
  }

  function edited() {
    try {
      read();
      complain(null);
    } catch (wrong) {
      complain(wrong.message);
    }
    changed();
  }

  return {
    ...field,
    node: h(
      "div",
      { class: `field ${field.kind}` },
      h("label", { for: id }, field.label, field.unit && h("small", {}, field.unit)),
      input,
      h("p", { class: "muted", id: `${id}-help` }, field.help),
      error,
    ),
    fault: () => fault,
    complain: (message) => {
      complain(message);
      input.focus();
    },
    value: () => (fault ? undefined : read()),
    change: (config) => (fault ? null : difference(field, config[field.name], read())),
    show: (value) => {
      if (field.kind === "switch") input.checked = value;
      else input.value = field.write(value);
      if (field.kind === "lines")
        input.rows = Math.max(2, Math.min(8, input.value.split("\n").length));
      complain(null);
    },
  };
}
