"""What the scaler does by itself, on the figures of a real metrics-server."""

import os
import signal
import subprocess
import time
import unittest

import audit
from case import MIB, ClusterTest
from cluster import (
    NAMESPACE,
    process_of,
    resize_conditions,
    resources,
    status_of,
    until,
    workload,
)
from scaler import SCRIPT, Scaler

SHRINKING = {
    "auto_scale_enabled": True,
    "auto_scale_interval": 3,
    "scaling_cooldown": 0,
    "history_window": 2,
    "guard_cpu_window": 60,
    "guard_memory_window": 60,
}
BUSY = {"cpu": 500, "memory": 30, "request": ("50m", "64Mi"), "limit": ("100m", "96Mi")}


class Autoscale(ClusterTest):
    @property
    def memory_stays(self):
        """Before 1.34 no memory limit is cut in place."""
        return self.cluster.minor < 34

    def measured(self, *names, least=80):
        """The figures show what the pods burn by now."""

        def millicores(name):
            path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods/{name}"
            containers = self.cluster.get(path)["containers"]
            return int(containers[0]["usage"]["cpu"].removesuffix("n")) / 1e6

        for name in names:
            until(60, f"{name} is measured", lambda: millicores(name) >= least, pause=1)

    def limit(self, name):
        return self.cluster.pod(name)["spec"]["containers"][0]["resources"]["limits"]

    def test_dry_run_changes_nothing(self):
        self.run_pod("watched", **BUSY)
        self.measured("watched")
        since = audit.now() if audit.LOG else None
        before = self.cluster.pod("watched")["metadata"]["generation"]
        settings = {"dry_run": True, "auto_scale_enabled": True, "auto_scale_interval": 1}
        with Scaler("dry-run", **settings) as scaler:
            decided = lambda: [
                d for d in scaler.get("/decisions")[1]["decisions"] if d["pod_name"] == "watched"
            ]
            until(
                30,
                "three decisions to grow",
                lambda: sum(d["cpu_action"] == "INCREASE" for d in decided()) >= 3,
            )
            self.assertEqual(scaler.outcome("watched")["status"], "dry_run")
        self.assertEqual(self.cluster.pod("watched")["metadata"]["generation"], before)
        if audit.LOG:
            self.assertEqual(audit.writes(since), [])

    def test_exclusions(self):
        names = ["by-label", "included"]
        self.run_pod("by-label", labels={"tier": "cache"}, **BUSY)
        self.run_pod("included", **BUSY)
        self.addCleanup(
            until, 60, "its pods are gone", lambda: not self.cluster.pods_of("by-deployment")
        )
        self.addCleanup(self.cluster.delete, "deployments", "by-deployment")
        self.cluster.create("deployments", workload("Deployment", "by-deployment", **BUSY))
        pods = until(30, "its pod", lambda: self.cluster.pods_of("by-deployment"))
        names.append(pods[0]["metadata"]["name"])
        self.measured(*names)
        settings = {"excluded_labels": "tier=cache", "excluded_deployments": "by-deployment"}
        with Scaler("exclusions", **settings) as scaler:
            outcomes = {name: scaler.outcome(name) for name in reversed(names)}
        for name in ("by-label", names[-1]):
            self.assertEqual(outcomes[name]["status"], "skipped")
            self.assertEqual(outcomes[name]["reason"], "excluded")
            self.assertEqual(self.limit(name)["cpu"], "100m")
        # As far as that if it was held to its limit for all of the measurement, or one step.
        self.assertIn(self.limit("included")["cpu"], ("180m", "120m"))

    @unittest.skipIf(os.environ.get("E2E_USE_CURRENT"), "the metrics server is the user's own")
    def test_metrics_missing_then_back(self):
        self.run_pod("unmeasured", **BUSY)
        self.measured("unmeasured")
        with Scaler("no-metrics", metrics_max_age=30) as scaler:
            self.addCleanup(subprocess.run, [SCRIPT, "start", "metrics-server"], check=True)
            subprocess.run([SCRIPT, "stop", "metrics-server"], check=True)
            outcome = until(
                30,
                "no metrics",
                lambda: (o := scaler.outcome("unmeasured"))["status"] == "skipped" and o,
            )
            self.assertEqual(outcome["reason"], "no_metrics")
            self.assertEqual(self.limit("unmeasured")["cpu"], "100m")
            self.assertEqual(scaler.get("/readyz")[0], 200, "pods can be looked at all the same")
            subprocess.run([SCRIPT, "start", "metrics-server"], check=True)
            until(
                90,
                "scaled after all",
                lambda: scaler.outcome("unmeasured") and self.limit("unmeasured")["cpu"] != "100m",
                pause=2,
            )

    @unittest.skipIf(os.environ.get("E2E_USE_CURRENT"), "it stops the kubelet for a moment")
    def test_error_that_the_kubelet_publishes_late_is_taken_back(self):
        self.needs(34, "the API server takes no cut of a memory limit")
        self.run_pod("late", memory=60, cpu=100)
        self.measured("late")
        kubelet = process_of("kubelet")
        self.addCleanup(os.kill, kubelet, signal.SIGCONT)
        with Scaler("late", resize_timeout=1) as scaler:
            less = resources(("100m", "16Mi"), ("200m", "24Mi"))
            os.kill(kubelet, signal.SIGSTOP)
            code, answer = scaler.resize("late", {"app": less})
            os.kill(kubelet, signal.SIGCONT)
            self.assertEqual(code, 200, answer)
            self.assertIn("pending", answer["details"])
            outcome = until(
                60,
                "the loop sees it",
                lambda: (o := scaler.outcome("late"))["status"] == "failed" and o,
                pause=1,
            )
            self.assertIn("usage", outcome["message"])

            def settled():
                pod = self.cluster.pod("late")
                return status_of(pod)["resources"] == pod["spec"]["containers"][0]["resources"]

            until(30, "as it was", settled)
            self.assertEqual(self.limit("late"), {"cpu": "200m", "memory": "128Mi"})

    def test_deferred_for_too_long(self):
        """The node stays full: the template is next, and its new pod runs once there is room."""
        kinds, name = self.start(
            "Deployment", cpu=500, memory=20, request=("300m", "64Mi"), limit=("300m", "96Mi")
        )
        old = self.cluster.pods_of(name)[0]
        pod = old["metadata"]["name"]
        self.measured(pod, least=240)
        room = self.cluster.free_millicores(old["spec"]["nodeName"]) - 30
        self.run_pod(
            "in-the-way",
            node=old["spec"]["nodeName"],
            request=(f"{room}m", "32Mi"),
            limit=(f"{room}m", "64Mi"),
        )
        spec = lambda: self.cluster.get(self.cluster.path(kinds, name))["spec"]["template"]["spec"]
        template = lambda: spec()["containers"][0]["resources"]
        with Scaler("deferred", scaling_cooldown=0, resize_timeout=1, deferred_timeout=5) as scaler:
            self.assertIn("deferred", scaler.outcome(pod)["message"])
            wanted = self.cluster.pod(pod)["spec"]["containers"][0]["resources"]
            # As far as that if it was held to its limit for all of the measurement, or one step.
            expected = [resources((cpu, "64Mi"), (cpu, "96Mi")) for cpu in ("540m", "360m")]
            self.assertIn(wanted, expected)
            conditions = resize_conditions(self.cluster.pod(pod))
            self.assertEqual(conditions, {"PodResizePending": "Deferred"})
            until(
                30,
                "the template has it",
                lambda: scaler.outcome(pod) and template() == wanted,
                pause=1,
            )
        self.assertEqual(self.cluster.limits(pod)[0], 300)
        self.cluster.delete("pods", "in-the-way")
        self.wait_ready(kinds, name, wanted)
        new = self.cluster.pods_of(name)[0]
        self.assertNotEqual(new["metadata"]["uid"], old["metadata"]["uid"])

    def test_load_that_rises_and_falls(self):
        """CPU, then memory doubles: the pod never starves, is never killed, and shrinks after."""
        self.run_pod(
            "breathing", cpu=120, memory=40, request=("100m", "80Mi"), limit=("200m", "96Mi")
        )
        millicores = lambda: self.cluster.limits("breathing")[0]
        mebibytes = lambda: self.cluster.limits("breathing")[1] >> 20
        with Scaler("load", **SHRINKING):
            self.cluster.load("breathing", cpu=400)
            began = time.monotonic()
            until(120, "CPU for the load", lambda: millicores() >= 400, pause=1)
            print(f"CPU doubled after {time.monotonic() - began:.0f} s", end=" ", flush=True)
            self.cluster.load("breathing", memory=80)
            began = time.monotonic()
            until(90, "memory for the load", lambda: mebibytes() >= 100, pause=1)
            self.cluster.load("breathing", memory=95)
            until(90, "memory for more load", lambda: mebibytes() >= 115, pause=1)
            print(f"memory followed after {time.monotonic() - began:.0f} s", end=" ", flush=True)
            peak = self.cluster.limits("breathing")
            self.cluster.load("breathing", cpu=20, memory=5)
            began = time.monotonic()
            less = lambda: (
                millicores() < peak[0] * 0.7
                and (self.memory_stays or mebibytes() < (peak[1] >> 20) * 0.8)
            )
            until(240, "less of both", less, pause=1)
            print(f"shrank after {time.monotonic() - began:.0f} s", end=" ", flush=True)
        status = status_of(self.cluster.pod("breathing"))
        self.assertEqual((status["restartCount"], status["lastState"]), (0, {}))

    def assert_shrinks(self, name, memory_too, **more):
        """CPU goes down in three steps; memory goes with it, or is never touched."""
        self.run_pod(name, memory=20, request=("100m", "64Mi"), limit=("400m", "256Mi"), **more)
        since = audit.now() if audit.LOG else None
        with Scaler(name, **SHRINKING):
            until(120, "less CPU", lambda: self.cluster.limits(name)[0] <= 210, pause=1)
            if memory_too:
                until(60, "less memory", lambda: self.cluster.limits(name)[1] <= 150 * MIB, pause=1)
        if not memory_too:
            self.assertEqual(self.cluster.limits(name)[1], 256 * MIB)
        self.assertEqual(status_of(self.cluster.pod(name))["restartCount"], 0)
        if audit.LOG:
            self.assertEqual(set(audit.writes(since, name)), {("pods/resize", 200)})

    def test_pod_that_is_too_large(self):
        self.assert_shrinks("roomy", memory_too=not self.memory_stays)

    def test_container_that_restarts_for_memory_keeps_it(self):
        policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
        self.assert_shrinks("settled", memory_too=False, resizePolicy=policy)

    def test_one_resource_does_not_hold_the_other_back(self):
        """CPU has to grow while memory could shrink, which not every API server takes."""
        kinds, name = self.start(
            "Deployment", cpu=500, memory=20, request=("50m", "64Mi"), limit=("100m", "256Mi")
        )
        pod = self.cluster.pods_of(name)[0]["metadata"]["name"]
        with Scaler("torn", **SHRINKING):
            until(120, "more CPU in place", lambda: self.cluster.limits(pod)[0] >= 240, pause=1)
        workload = self.cluster.get(self.cluster.path(kinds, name))
        self.assertEqual(workload["metadata"]["generation"], 1, "nothing is rolled out")
        self.assertEqual(status_of(self.cluster.pod(pod))["restartCount"], 0)
