"""What the kubelet will never do: under the static CPU policy it changes no CPU of a Guaranteed
pod."""

import os
import subprocess
import unittest

from case import MIB, ScalerTest
from cluster import NAMESPACE, resize_conditions, resources, until
from scaler import SCRIPT

OLD = {"request": ("100m", "64Mi"), "limit": ("100m", "64Mi")}
WANTED = {"app": resources(("200m", "64Mi"), ("200m", "64Mi"))}


@unittest.skipIf(os.environ.get("E2E_USE_CURRENT"), "the kubelet is the user's own")
class Infeasible(ScalerTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(cls.restart_kubelet)
        cls.restart_kubelet("--cpu-manager-policy=static", "--kube-reserved=cpu=100m")

    @classmethod
    def restart_kubelet(cls, *flags):
        subprocess.run([SCRIPT, "stop", "kubelet"], check=True)
        subprocess.run([SCRIPT, "start", "kubelet", *flags], check=True)

        def rules():
            status = cls.cluster.get("/api/v1/nodes")["items"][0]["status"]
            return (status["allocatable"]["cpu"] != status["capacity"]["cpu"]) == bool(flags)

        until(60, "the node is by the new policy", rules)

    def was_infeasible(self, name):
        if self.cluster.minor < 34:
            return  # its kubelet sets the condition, which is gone by now, and tells no Event
        query = f"fieldSelector=reason=ResizeInfeasible,involvedObject.name={name}"
        until(
            10,
            "the kubelet said so",
            lambda: self.cluster.get(f"/api/v1/namespaces/{NAMESPACE}/events?{query}")["items"],
        )

    def test_bare_pod_is_left_as_it_was(self):
        before = self.run_pod("pinned", **OLD)
        code, answer = self.scaler.resize("pinned", WANTED)
        self.assertEqual(code, 400, answer)
        self.assertIn("infeasible", answer["error"])
        self.was_infeasible("pinned")
        until(30, "it is taken back", lambda: not resize_conditions(self.cluster.pod("pinned")))
        after = self.cluster.pod("pinned")
        self.assertEqual(after["spec"]["containers"], before["spec"]["containers"])
        self.assertEqual(self.cluster.limits("pinned"), (100, 64 * MIB))

    def test_template_is_next(self):
        kinds, name = self.start("Deployment", **OLD)
        pod = self.cluster.pods_of(name)[0]["metadata"]["name"]
        code, answer = self.scaler.resize(pod, WANTED)
        self.assertEqual((code, answer.get("scaling_method")), (200, "deployment_update"), answer)
        self.was_infeasible(pod)
        self.wait_ready(kinds, name, WANTED["app"])
        new = self.cluster.pods_of(name)[0]["metadata"]["name"]
        self.cluster.answers(new)
        self.assertEqual(self.cluster.limits(new), (200, 64 * MIB))
