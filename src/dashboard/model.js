// The model: what is loaded, and what is known of the one that ships.

import { get } from "./api.js";
import { h } from "./dom.js";
import { markdown } from "./markdown.js";
import { section } from "./overview.js";

export function model() {
  const facts = h("dl", { class: "facts" });
  const features = h("ol", { class: "features" });
  const note = h("p", {});
  const card = h("article", { class: "card-text" });
  const node = h(
    "div",
    { class: "view" },
    h(
      "div",
      { class: "split" },
      section("Loaded", null, facts),
      section("What it sees of a pod", null, features),
    ),
    h("section", { class: "panel" }, note, card),
  );
  let shown = false;

  async function refresh() {
    if (shown) return;
    const [info, known] = await Promise.all([get("model/info"), get("model/card")]);
    const fact = (label, value) => h("div", {}, h("dt", {}, label), h("dd", {}, value));
    facts.replaceChildren(
      fact("Type", info.model_type),
      fact("File", info.model_path),
      fact("Inputs", String(info.state_dim)),
      fact("Actions of each head", Object.values(info.actions).join(", ")),
    );
    features.replaceChildren(...info.state_features.map((feature) => h("li", {}, feature)));
    note.className = known.in_use ? "notice" : "notice warn";
    note.textContent = known.in_use
      ? "The model in use is the one that this version ships: the card below is about it."
      : "The model in use is not the one that this version ships: " +
        "the card below is about the shipped one.";
    card.replaceChildren(...markdown(known.card));
    shown = true;
  }

  return { title: "Model", node, refresh };
}
