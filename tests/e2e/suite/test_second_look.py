"""What is done between two cycles, with the default settings: how long a burst waits for a limit
that serves it, with the right to ask kubelets and without."""

import os
import statistics
import time
import unittest
import urllib.request

import audit
from case import MIB, ClusterTest
from cluster import NAMESPACE, status_of, until
from scaler import ROOT, Scaler, kubectl

RIGHTS = f"{ROOT}/deploy/components/kubelet-metrics/clusterrole.yaml"
# Times the load, in millicores before; the limit leaves a fifth to it.
BURSTS = {2: 150, 3: 120, 10: 100}
ROUNDS = int(os.environ.get("E2E_ROUNDS", "1"))
LEAST = 85  # millicores that show in the figures once a pod is measured


class SecondLook:
    """Seconds until a burst is to be served, at the median, and between two steps of memory."""

    within = {}
    pause = 0

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # The kubelet of the suite listens at the name of its node alone.
        settings = {
            "auto_scale_enabled": True,
            "kubelet_preferred_address_types": "Hostname",
        }
        cls.scaler = Scaler(cls.__name__, **settings)
        cls.addClassCleanup(cls.scaler.close)

    def measured(self, name):
        path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods/{name}"

        def millicores():
            usage = self.cluster.get(path)["containers"][0]["usage"]
            return int(usage["cpu"].removesuffix("n")) / 1e6

        until(90, f"{name} is measured", lambda: millicores() >= LEAST, pause=1)

    def decided(self, name):
        """By a cycle: what a look leaves alone it tells nowhere."""
        decisions = self.scaler.get("/decisions?limit=1000")[1]["decisions"]
        return any(decision["pod_name"] == name for decision in decisions)

    def burst(self, name, millicores):
        began = time.monotonic()
        self.cluster.load(name, cpu=millicores)
        served = lambda: self.cluster.limits(name)[0] >= millicores
        until(180, f"{name} is served", served, pause=0.2)
        took = time.monotonic() - began
        self.cluster.load(name, cpu=0)
        return took

    def test_bursts(self):
        took = {times: [] for times in BURSTS}
        for number in range(ROUNDS):
            names = {times: f"burst-{times}-{number}" for times in BURSTS}
            for times, name in names.items():
                cpu = BURSTS[times]
                limit = (f"{cpu * 6 // 5}m", "96Mi")
                self.run_pod(name, cpu=cpu, memory=20, request=("50m", "64Mi"), limit=limit)
            for name in names.values():
                self.measured(name)
                until(60, f"a cycle has seen {name}", lambda name=name: self.decided(name), pause=1)
            for times, name in names.items():
                took[times].append(self.burst(name, times * BURSTS[times]))
                self.assertEqual(status_of(self.cluster.pod(name))["restartCount"], 0)
        # How soon is told and not tested: it hangs on what else the machine does.
        for times, seconds in took.items():
            wanted = f", wanted {self.within[times]}" if times in self.within else ""
            print(f"{times}-fold: {statistics.median(seconds):.1f} s{wanted};", end=" ", flush=True)

    def test_memory_that_grows_is_not_killed(self):
        """By a tenth at once, again and again, to twice what it was."""
        limit = ("200m", "128Mi")
        self.run_pod("swelling", cpu=100, memory=90, request=("50m", "64Mi"), limit=limit)
        self.measured("swelling")
        until(60, "a cycle has seen it", lambda: self.decided("swelling"), pause=1)
        held = 90
        while held < 180:
            held = held * 11 // 10
            limit = self.cluster.limits("swelling")[1] // MIB
            print(f"{held} MiB under {limit},", end=" ", flush=True)
            self.cluster.load("swelling", memory=held)
            time.sleep(self.pause)
        status = status_of(self.cluster.pod("swelling"))
        self.assertEqual((status["restartCount"], status["lastState"]), (0, {}))


class WithKubelets(SecondLook, ClusterTest):
    within = {2: 5, 10: 10}
    pause = 5

    def test_kubelets_are_asked(self):
        def answered():
            with urllib.request.urlopen(self.scaler.url + "/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
            name = 'dqn_scaler_kubelet_request_duration_seconds_count{result="answered"} '
            counts = [line.removeprefix(name) for line in lines if line.startswith(name)]
            return counts and int(counts[0]) > 5

        until(60, "kubelets answer", answered, pause=1)


@unittest.skipIf(
    os.environ.get("E2E_USE_CURRENT"), "it takes a cluster-wide right away for a while"
)
class WithoutKubelets(SecondLook, ClusterTest):
    within = {2: 20, 10: 40}
    pause = 15

    @classmethod
    def setUpClass(cls):
        kubectl("delete", "clusterrolebinding", "dqn-scaler-kubelets")
        cls.addClassCleanup(kubectl, "apply", "--filename", RIGHTS)
        if audit.LOG:
            began = audit.now()
            cls.addClassCleanup(lambda: audit.EXPECTED_DENIALS.append((began, audit.now())))
        super().setUpClass()
