"""Two replicas on a real API server: one acts, the other takes over, and neither resizes what the
other has just resized."""

import json
import os
import signal

from case import ClusterTest
from cluster import NAMESPACE, resources, until
from scaler import ROOT, Scaler, kubectl

UP = {"app": resources(("60m", "64Mi"), ("120m", "96Mi"))}
LEASE = "dqn-scaler-leader"
ELECTION = {
    "leader_elect": "true",
    "lease_name": LEASE,
    "lease_namespace": "dqn-scaler",
    "lease_duration": 5,
    "renew_deadline": 3,
    "retry_period": 0.5,
}


class Leader(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        role = f"{ROOT}/deploy/components/replicated/role.yaml"
        kubectl("apply", "-f", role)
        cls.addClassCleanup(kubectl, "delete", "-f", role)
        cls.addClassCleanup(
            kubectl, "delete", "lease", LEASE, "--namespace=dqn-scaler", "--ignore-not-found"
        )

    def lease(self):
        lease = kubectl("get", "lease", LEASE, "--namespace=dqn-scaler", "--output=json")
        return json.loads(lease)["spec"]

    def test_leader_is_followed_killed_and_replaced(self):
        self.run_pod("led", cpu=20, memory=30, request=("50m", "64Mi"), limit=("100m", "96Mi"))
        role = lambda scaler: scaler.get("/readyz")[1]["role"]
        with Scaler("leader-one", pod_name="one", **ELECTION) as one:
            until(10, "the first leads", lambda: role(one) == "leader")
            self.assertTrue(self.lease()["holderIdentity"].startswith("one_"))
            with Scaler("leader-two", pod_name="two", **ELECTION) as two:
                until(
                    10,
                    "the second follows the first",
                    lambda: (two.get("/readyz")[1]["leader"] or "").startswith("one_"),
                )
                self.assertEqual(role(two), "follower")
                code, answer = two.resize("led", UP)
                self.assertEqual(code, 503, answer)
                self.assertIn("one_", answer["error"])
                code, answer = one.resize("led", UP)
                self.assertEqual(code, 200, answer)
                metadata = self.cluster.get(self.cluster.path("pods", "led"))["metadata"]
                ours = [
                    entry for entry in metadata["managedFields"] if entry["manager"] == "dqn-scaler"
                ]
                self.assertEqual([entry.get("subresource") for entry in ours], ["resize"])
                code, answer = one.post("/config", {"scale_factor": 0.31})
                self.assertEqual(code, 200, answer)
                until(
                    5,
                    "the follower knows of the change",
                    lambda: two.get("/config")[1]["scale_factor"] == 0.31,
                )
                os.kill(one.process.pid, signal.SIGSTOP)
                try:
                    until(15, "the second leads", lambda: role(two) == "leader")
                finally:
                    os.kill(one.process.pid, signal.SIGCONT)
                code, answer = one.resize("led", UP)
                self.assertEqual(code, 503, answer)
                self.assertTrue(self.lease()["holderIdentity"].startswith("two_"))
                metrics = lambda: two.get(f"/pods/{NAMESPACE}/led")[1]["metrics"] or {}
                until(60, "it is measured", lambda: metrics().get("cpu_usage_cores") is not None)
                # Resized by the other replica a moment ago: the API server's date of it says so.
                until(
                    40,
                    "it cools down",
                    lambda: two.outcome("led").get("reason") == "cooldown_period",
                    pause=1,
                )
            until(
                10,
                "the first leads again, for the second gave the lease back",
                lambda: role(one) == "leader",
            )
        self.assertEqual(self.lease()["holderIdentity"], "")
