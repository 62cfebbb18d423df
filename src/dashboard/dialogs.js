// What is laid over the page: questions, details, passing notes. The dialog element keeps the focus
// and closes on Escape.

import { h } from "./dom.js";

/** Opens a dialog; resolves with what `close` was given, or undefined when it was dismissed. */
export function open(title, content, { wide } = {}) {
  return new Promise((resolve) => {
    let result;
    const close = (value) => {
      result = value;
      dialog.close();
    };
    const heading = h("h2", { id: "dialog-title", tabindex: "-1" }, title);
    const dialog = h(
      "dialog",
      {
        class: wide ? "wide" : "",
        "aria-labelledby": "dialog-title",
        close: () => {
          dialog.remove();
          resolve(result);
        },
      },
      h(
        "div",
        { class: "dialog-head" },
        heading,
        h(
          "button",
          { type: "button", class: "quiet close", "aria-label": "Close", click: () => close() },
          "✕",
        ),
      ),
      h("div", { class: "dialog-body" }, content(close)),
    );
    dialog.addEventListener("click", (event) => event.target === dialog && close());
    document.body.append(dialog);
    dialog.showModal();
    if (!dialog.querySelector("[autofocus]")) heading.focus();
  });
}

export async function confirm({ title, text, action }) {
  const sure = await open(title, (close) => [
    ...[text].flat().map((paragraph) => h("p", {}, paragraph)),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", autofocus: true, click: () => close(false) }, "Cancel"),
      h("button", { type: "button", class: "primary", click: () => close(true) }, action),
    ),
  ]);
  return sure === true;
}

export function askForToken(reason) {
  return open("A token is needed", (close) => {
    const input = h("input", {
      type: "password",
      id: "token",
      autocomplete: "off",
      autofocus: true,
      required: true,
    });
    return h(
      "form",
      {
        submit: (event) => {
          event.preventDefault();
          close(input.value.trim() || undefined);
        },
      },
      h("p", {}, reason),
      h("div", { class: "field" }, h("label", { for: "token" }, "Bearer token"), input),
      h("p", { class: "muted" }, "It is kept in this tab only, until the tab is closed."),
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", click: () => close() }, "Cancel"),
        h("button", { type: "submit", class: "primary" }, "Use it"),
      ),
    );
  });
}

const SHOWN = 6000;

export function toast(message, kind = "done") {
  const note = h("div", { class: `toast ${kind}` }, h("span", {}, message));
  const remove = () => note.remove();
  note.append(
    h(
      "button",
      { type: "button", class: "quiet close", "aria-label": "Dismiss", click: remove },
      "✕",
    ),
  );
  document.getElementById("toasts").append(note);
  setTimeout(remove, kind === "error" ? 2 * SHOWN : SHOWN);
}

/** An error of a write, in words that say whose matter it is. */
export function refused(error) {
  const why = error.status === 403 ? `Not allowed: ${error.message}` : error.message;
  toast(why, "error");
}
