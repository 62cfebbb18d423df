"""What a container takes to start is no peak that it keeps."""

import time

from case import ClusterTest
from cluster import until
from scaler import Scaler

STARTUP = 25
SETTINGS = {
    "auto_scale_enabled": True,
    "auto_scale_interval": 3,
    "history_window": 2,
    "scaling_cooldown": 0,
    "scale_factor": 0.5,
    "min_cpu": 0.05,
}


class Startup(ClusterTest):
    def test_the_cpu_of_a_start_is_given_back(self):
        with Scaler("startup", startup_period=STARTUP, **SETTINGS):
            began = time.monotonic()
            spec = {"request": ("100m", "64Mi"), "limit": ("600m", "128Mi")}
            self.run_pod("starting", cpu=450, memory=20, **spec)
            time.sleep(max(0.0, began + 18 - time.monotonic()))
            self.cluster.load("starting", cpu=20)
            self.assertGreaterEqual(self.cluster.limits("starting")[0], 600, "it starts")
            # Its peak of the last eight hours would be 450m.
            cut = lambda: self.cluster.limits("starting")[0] <= 200
            until(90, "it gives back what its start took", cut, pause=0.5)
            took = time.monotonic() - began
        self.assertGreaterEqual(took, STARTUP, "not before it has started")
        print(f"given back after {took:.0f} s, started after {STARTUP}", end=" ", flush=True)
