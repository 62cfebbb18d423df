"""What admission refuses of the loop's own resizes. What LimitRanges and quotas say is known
beforehand and not tried. The rest is reported with the server's reason, and rolled out nowhere, for
the new pods would be refused too or would escape the rule."""

import admission
import audit
from case import ClusterTest
from cluster import NAMESPACE, resources, until
from scaler import Scaler, kubectl

BUSY = {"cpu": 500, "memory": 40, "request": ("50m", "64Mi"), "limit": ("100m", "96Mi")}
IDLE = {"cpu": 0, "memory": 40, "request": ("300m", "64Mi"), "limit": ("600m", "96Mi")}
MORE = {"limits": {"cpu": "120m"}}


class Admission(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.scaler = Scaler(
            cls.__name__,
            scaling_cooldown=0,
            history_window=2,
            guard_cpu_window=60,
            guard_memory_window=60,
        )
        cls.addClassCleanup(cls.scaler.close)

    def assert_told_and_not_rolled_out(self, spec, rule, refused, said):
        kinds, name = self.start("Deployment", **spec)
        old = self.cluster.pods_of(name)[0]
        pod, had = old["metadata"]["name"], old["spec"]["containers"][0]["resources"]
        with admission.in_force(self.cluster, rule, pod, refused):
            outcome = until(
                90,
                "the loop tries",
                lambda: (
                    (o := self.scaler.outcome(pod))["status"] not in ("skipped", "no_action_needed")
                    and o
                ),
                pause=2,
            )
            self.assertEqual(outcome["status"], "failed", outcome)
            self.assertIn(said, outcome["message"])
            for kind, about in (("pod", pod), ("deployment", name)):
                until(
                    20,
                    f"an Event of the {kind}",
                    lambda: said in kubectl("describe", kind, about, f"--namespace={NAMESPACE}"),
                )
            for _ in range(3):
                self.scaler.outcome(pod)
            self.assertEqual(self.cluster.pod(pod)["spec"]["containers"][0]["resources"], had)
            now = self.cluster.get(self.cluster.path(kinds, name))["metadata"]
            self.assertEqual(now["generation"], 1, "the template is as it was")

    def assert_not_tried(self, spec, rule, refused, factor):
        _, name = self.start("Deployment", **spec)
        old = self.cluster.pods_of(name)[0]
        pod, had = old["metadata"]["name"], old["spec"]["containers"][0]["resources"]

        def known():
            answer = self.scaler.post(f"/scale/pod/{NAMESPACE}/{pod}")[1]
            factors = answer.get("result", {}).get("explanation", {}).get("factors", [])
            return factor in factors

        with admission.in_force(self.cluster, rule, pod, refused):
            until(90, f"{factor} is a factor", known, pause=2)
            since = audit.now() if audit.LOG else None
            for _ in range(3):
                self.scaler.outcome(pod)
            self.assertEqual(self.cluster.pod(pod)["spec"]["containers"][0]["resources"], had)
            if audit.LOG:
                self.assertEqual(audit.writes(since, pod), [], "nothing is asked for")

    def test_maximum(self):
        rule = admission.limit_range(self.cluster, max={"cpu": "100m"})
        self.assert_not_tried(BUSY, rule, MORE, "cpu_guard_limit_range")

    def test_minimum(self):
        rule = admission.limit_range(self.cluster, min={"cpu": "300m"})
        less = resources(("240m", "64Mi"), ("480m", "96Mi"))
        self.assert_not_tried(IDLE, rule, less, "cpu_guard_limit_range")

    def test_quota(self):
        rule = admission.quota(self.cluster, limits_cpu="100m")
        self.assert_not_tried(BUSY, rule, MORE, "cpu_guard_resource_quota")

    def test_policy(self):
        rule = admission.policy(self.cluster, cpu="100m")
        self.assert_told_and_not_rolled_out(BUSY, rule, MORE, "no more than 100m for anybody")
