"""A kubelet that is stopped costs only its own node, and what was asked of it is done once it is
there again."""

import os
import signal
import subprocess
import time
import unittest

from case import MIB, ClusterTest
from cluster import NAMESPACE, process_of, resources, status_of, until
from scaler import SCRIPT, Scaler, kubectl

NODE = os.environ["SECOND"]
SMALL = {"request": ("50m", "64Mi"), "limit": ("100m", "96Mi")}


@unittest.skipIf(os.environ.get("E2E_USE_CURRENT"), "it takes a node of its own")
class StoppedNode(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(kubectl, "delete", "node", NODE, "--ignore-not-found")
        cls.addClassCleanup(subprocess.run, [SCRIPT, "second", "down"], check=True)
        subprocess.run([SCRIPT, "second", "up"], check=True)
        # Nothing comes here by itself.
        kubectl("cordon", NODE)
        cls.kubelet = process_of("kubelet-second")

    def test_others_are_resized_meanwhile(self):
        there = [f"there-{number}" for number in range(4)]
        for name in there:
            self.run_pod(name, cpu=10, memory=88, node=NODE, **SMALL)
        here = [f"here-{number}" for number in range(3)]
        for name in here:
            self.run_pod(name, cpu=10, memory=20, **SMALL)
        # They have to be gone before their kubelet is.
        self.addCleanup(os.kill, self.kubelet, signal.SIGCONT)
        settings = {"resize_timeout": 5, "auto_scale_interval": 3, "scaling_cooldown": 0}
        with Scaler("stopped-node", **settings) as scaler:
            shown = lambda name: scaler.get(f"/pods/{NAMESPACE}/{name}")[1]["metrics"] or {}
            full = lambda name: (shown(name).get("memory_usage_mb") or 0) > 85
            for name in there:
                until(90, f"{name} is measured", lambda name=name: full(name), pause=1)
            os.kill(self.kubelet, signal.SIGSTOP)
            self.assertEqual(scaler.post("/config", {"auto_scale_enabled": True})[0], 200)
            asked = lambda name: self.cluster.pod(name)["spec"]["containers"][0]["resources"]
            small = resources(SMALL["request"], SMALL["limit"])
            for name in there:
                until(60, f"{name} is asked for", lambda name=name: asked(name) != small)
                self.assertEqual(status_of(self.cluster.pod(name))["resources"], small)

            began = time.monotonic()
            for name in here:
                self.cluster.load(name, memory=90)
            served = lambda name: self.cluster.limits(name)[1] > 96 * MIB
            until(120, "all here are served", lambda: all(served(name) for name in here))
            print(f"served after {time.monotonic() - began:.0f} s;", end=" ", flush=True)
            breakers = lambda: scaler.get("/readyz")[1]["circuit_breakers"]
            until(60, "the breaker is open", breakers)
            self.assertEqual([(b["kind"], b["name"]) for b in breakers()], [("node", NODE)])
            for name in here:
                self.assertEqual(status_of(self.cluster.pod(name))["restartCount"], 0)

            os.kill(self.kubelet, signal.SIGCONT)
            for name in there:
                grown = lambda name=name: self.cluster.limits(name)[1] > 96 * MIB
                until(120, f"{name} has what was asked for", grown)
                self.assertEqual(status_of(self.cluster.pod(name))["restartCount"], 0)
            until(180, "the breaker is closed", lambda: not breakers(), pause=1)
