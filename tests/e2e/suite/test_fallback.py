"""Resizes that no pod can have in place: they go into the template of its workload, and the rollout
is seen through."""

from case import MIB, ScalerTest
from cluster import resources

# In place the class of a pod cannot change; with new pods it can.
GUARANTEED = resources(("120m", "96Mi"), ("120m", "96Mi"))


class Fallback(ScalerTest):
    def fall_back(self, kind, **more):
        kinds, name = self.start(kind, **more)
        victim = self.cluster.pods_of(name)[0]["metadata"]["name"]
        code, answer = self.scaler.resize(victim, {"app": GUARANTEED})
        self.assertEqual((code, answer.get("scaling_method")), (200, "deployment_update"), answer)
        self.assertEqual(answer["details"]["deployment_name"], name)
        template = self.cluster.get(self.cluster.path(kinds, name))["spec"]["template"]["spec"]
        self.assertEqual(template["containers"][0]["resources"], GUARANTEED)
        self.wait_ready(kinds, name, GUARANTEED)
        for new in self.cluster.pods_of(name):
            self.assertEqual(new["status"]["qosClass"], "Guaranteed")
            self.cluster.answers(new["metadata"]["name"])
            self.assertEqual(self.cluster.limits(new["metadata"]["name"]), (120, 96 * MIB))

    def test_deployment(self):
        self.fall_back("Deployment", replicas=2)

    def test_stateful_set(self):
        self.fall_back("StatefulSet")

    def test_daemon_set(self):
        self.fall_back("DaemonSet")

    def test_not_asked_for(self):
        kinds, name = self.start("Deployment")
        victim = self.cluster.pods_of(name)[0]["metadata"]["name"]
        code, answer = self.scaler.resize(victim, {"app": GUARANTEED}, fallback=False)
        self.assertEqual(code, 400, answer)
        generation = self.cluster.get(self.cluster.path(kinds, name))["metadata"]["generation"]
        self.assertEqual(generation, 1)

    def test_bare_pod_has_no_template(self):
        before = self.run_pod("bare")
        code, answer = self.scaler.resize("bare", {"app": GUARANTEED})
        self.assertEqual(code, 400, answer)
        self.assertIn("QOS", answer["error"])
        after = self.cluster.pod("bare")
        for unchanged in ("uid", "generation"):
            self.assertEqual(after["metadata"][unchanged], before["metadata"][unchanged])
        self.assertEqual(after["spec"]["containers"], before["spec"]["containers"])
