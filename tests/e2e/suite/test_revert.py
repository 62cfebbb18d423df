"""The way out: one command puts pods back to what their templates give; and what was learned can be
taken along as patches."""

import json
import os
import subprocess
import tempfile

from case import MIB, ScalerTest
from cluster import NAMESPACE, resources, status_of, until
from scaler import BINARY, kubectl

SPEC = {"request": ("100m", "64Mi"), "limit": ("200m", "128Mi")}
TEMPLATE, LARGE = (
    resources(("100m", "64Mi"), ("200m", "128Mi")),
    resources(("150m", "96Mi"), ("300m", "192Mi")),
)


def run(*arguments):
    """As a person would, with a kubeconfig."""
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, env=os.environ)


class Revert(ScalerTest):
    def resized(self):
        kinds, app = self.start("Deployment", **SPEC)
        name = self.cluster.pods_of(app)[0]["metadata"]["name"]
        known = lambda: (
            self.scaler.post("/scale/all")[0] == 200
            and self.scaler.get(f"/workloads?search={app}")[1]["workloads"]
        )
        until(30, "its template is known", known, pause=0.5)
        code, answer = self.scaler.resize(name, {"app": LARGE})
        self.assertEqual(code, 200, answer)
        self.assertEqual(self.cluster.limits(name), (300, 192 * MIB))
        return kinds, app, name

    def test_revert_puts_pods_back_to_their_template(self):
        _, _, name = self.resized()
        self.run_pod("others", **SPEC)
        by_hand = {"containers": [{"name": "app", "resources": {"limits": {"cpu": "250m"}}}]}
        self.cluster.patch(self.cluster.path("pods", "others") + "/resize", {"spec": by_hand})
        told = run("revert", f"--namespaces={NAMESPACE}")
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertIn(f"{NAMESPACE}/{name}: app: cpu request 150m -> 100m", told.stdout)
        self.assertIn("1 pods differ. Nothing was changed", told.stdout)
        self.assertEqual(self.cluster.limits(name), (300, 192 * MIB))
        done = run("revert", f"--namespaces={NAMESPACE}", "--apply")
        memory = 128 * MIB
        if self.cluster.minor < 34:
            self.assertIn("0 pods are as their templates have them, 1 are not", done.stdout)
            memory = 192 * MIB
        else:
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(self.cluster.pod(name)["spec"]["containers"][0]["resources"], TEMPLATE)
        until(20, "it has what it had", lambda: self.cluster.limits(name) == (200, memory))
        self.assertEqual(status_of(self.cluster.pod(name))["restartCount"], 0)
        limits = self.cluster.pod("others")["spec"]["containers"][0]["resources"]["limits"]
        self.assertEqual(limits["cpu"], "250m", "that is somebody else's")

    def test_export_gives_patches_that_kustomize_takes(self):
        kinds, app, name = self.resized()
        settled = lambda: (
            self.scaler.post("/scale/all")[0] == 200
            and run("export", f"--url={self.scaler.url}", f"--search={app}").stdout
        )
        patches = until(60, "it is settled", settled, pause=1)
        self.assertIn("memory: 192Mi", patches)
        with tempfile.TemporaryDirectory() as folder:
            shown = self.cluster.get(self.cluster.path(kinds, app))
            base = {key: shown[key] for key in ("apiVersion", "kind", "spec")}
            base["metadata"] = {"name": app, "namespace": NAMESPACE}
            top = {"resources": ["base.json"], "patches": [{"path": "sizes.yaml"}]}
            for file, text in (
                ("base.json", json.dumps(base)),
                ("sizes.yaml", patches),
                ("kustomization.yaml", json.dumps(top)),
            ):
                with open(f"{folder}/{file}", "w") as out:
                    out.write(text)
            patched = kubectl("kustomize", folder)
        self.assertIn("memory: 192Mi", patched)
        values = run("export", f"--url={self.scaler.url}", "--format=helm").stdout
        self.assertTrue(values.startswith(f"dqnScaler:\n  {NAMESPACE}:\n    deployment:"), values)
        self.assertEqual(self.cluster.pod(name)["metadata"]["name"], name)
