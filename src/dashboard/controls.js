// The two switches that matter: dry run or live, and the autoscaler.

import { post } from "./api.js";
import { confirm, refused, toast } from "./dialogs.js";
import { attribute, busy, h, text } from "./dom.js";

async function write(button, app, work) {
  await busy(button, async () => {
    try {
      await work();
    } catch (error) {
      refused(error);
    }
    await app.refresh();
  });
}

export const goesLive = (namespaces) =>
  confirm({
    title: "Switch dry run off?",
    text: [
      `From the next cycle on, limits and requests of the pods in ${namespaces.join(", ")} ` +
        "are changed as decided: in place, or through the template where that fails and more " +
        "is needed.",
      "It can be switched back at any time; what was changed until then stays.",
    ],
    action: "Go live",
  });

export function modeButton(app) {
  const node = h("button", {
    type: "button",
    class: "mode-button",
    click: () =>
      write(node, app, async () => {
        const dry = app.statistics.system_status.dry_run_mode;
        if (dry && !(await goesLive(app.config?.namespaces ?? []))) return;
        await post("config", { dry_run: !dry });
        toast(
          dry
            ? "Live: pods are resized from the next cycle on."
            : "Dry run: nothing is changed any more.",
        );
      }),
  });
  return {
    node,
    update: () =>
      text(node, app.statistics.system_status.dry_run_mode ? "Go live…" : "Back to dry run"),
  };
}

export function autoscalerButton(app) {
  const node = h("button", {
    type: "button",
    class: "autoscaler-button",
    click: () =>
      write(node, app, async () => {
        const stop = app.autoscale.enabled;
        const answer = await post(stop ? "autoscale/stop" : "autoscale/start");
        toast(answer.message);
      }),
  });
  const update = () => {
    const stop = app.autoscale.enabled;
    text(node, stop ? "Stop autoscaler" : "Start autoscaler");
    attribute(node, "disabled", !stop && !app.connected);
  };
  return { node, update };
}
