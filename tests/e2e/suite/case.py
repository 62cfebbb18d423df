"""What the tests share: the cluster, a scaler, and pods that are gone when their test is over."""

import unittest

from cluster import Cluster, resize_conditions, status_of, until, workload
from scaler import Scaler

MIB = 1 << 20


class ClusterTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.close)

    def needs(self, minor, why):
        if self.cluster.minor < minor:
            self.skipTest(f"before 1.{minor} {why}")

    def run_pod(self, name, **spec):
        self.addCleanup(self.cluster.gone, "pods", name)
        self.addCleanup(self.cluster.delete, "pods", name)
        return self.cluster.run(name, **spec)

    def start(self, kind, **more):
        name = kind.lower()
        kinds = name + "s"
        self.addCleanup(
            until,
            60,
            "its pods are gone",
            lambda: (
                not self.cluster.get(self.cluster.path("pods") + f"?labelSelector=app={name}")[
                    "items"
                ]
            ),
        )
        self.addCleanup(self.cluster.delete, kinds, name)
        self.cluster.create(kinds, workload(kind, name, **more))
        self.wait_ready(kinds, name)
        return kinds, name

    def wait_ready(self, kinds, name, wanted=None):
        """The rollout is through: the controller has seen the template, and no old pod is left."""

        def through():
            now = self.cluster.get(self.cluster.path(kinds, name))
            if now["status"].get("observedGeneration") != now["metadata"]["generation"]:
                return False
            count = now["spec"].get("replicas", 1)
            pods = self.cluster.pods_of(name)
            ready = [
                p for p in pods if any(s["ready"] for s in p["status"].get("containerStatuses", []))
            ]
            return len(pods) == len(ready) == count and (
                wanted is None
                or all(p["spec"]["containers"][0]["resources"] == wanted for p in pods)
            )

        until(90, f"{name} is rolled out", through)


class ScalerTest(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # The kubelet publishes an error at its second look at a pod, ten seconds after the first.
        cls.scaler = Scaler(cls.__name__, resize_timeout=30)
        cls.addClassCleanup(cls.scaler.close)

    def assert_in_force(self, name, wanted, limits, restarts=0, container="app", port=8080):
        """Spec, status, cgroup: all of them say so, and the container still runs."""

        def in_force():
            status = status_of(self.cluster.pod(name), container)
            return (
                status.get("resources") == wanted
                and status["restartCount"] == restarts
                and "running" in status["state"]
            )

        until(20, f"{name} has {wanted}", in_force)
        until(
            10,
            f"the cgroup of {name} allows {limits}",
            lambda: self.cluster.limits(name, port) == limits,
        )
        now = self.cluster.pod(name)
        everything = now["spec"]["containers"] + now["spec"].get("initContainers", [])
        self.assertEqual(next(c for c in everything if c["name"] == container)["resources"], wanted)
        until(30, "no condition is left", lambda: not resize_conditions(self.cluster.pod(name)))
