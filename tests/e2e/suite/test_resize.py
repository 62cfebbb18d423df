"""Resizes that a person asks for: in place as long as that works, and what becomes of them where it
does not."""

import time

import admission
import audit
from case import MIB, ScalerTest
from cluster import container, millicores, resize_conditions, resources, status_of, until
from scaler import Scaler


class Resize(ScalerTest):
    def assert_resized(self, answer, method="vertical"):
        code, body = answer
        self.assertEqual((code, body.get("scaling_method")), (200, method), body)
        self.assertNotIn("pending", body["details"])
        return body

    def test_burstable_up_and_down(self):
        before = self.run_pod("burstable", memory=20)
        low = 192 if self.cluster.minor < 34 else 80
        for request, limit, expected in [
            (("200m", "96Mi"), ("400m", "192Mi"), (400, 192 * MIB)),
            (("50m", "48Mi"), ("150m", f"{low}Mi"), (150, low * MIB)),
        ]:
            wanted = resources(request, limit)
            self.assert_resized(self.scaler.resize("burstable", {"app": wanted}))
            self.assert_in_force("burstable", wanted, expected)
        after = self.cluster.pod("burstable")
        self.assertEqual(before["metadata"]["uid"], after["metadata"]["uid"])
        self.assertEqual(status_of(before)["containerID"], status_of(after)["containerID"])

    def test_guaranteed_stays_guaranteed(self):
        self.run_pod("guaranteed", request=("100m", "64Mi"), limit=("100m", "64Mi"))
        wanted = resources(("200m", "96Mi"), ("200m", "96Mi"))
        self.assert_resized(self.scaler.resize("guaranteed", {"app": wanted}))
        self.assert_in_force("guaranteed", wanted, (200, 96 * MIB))
        code, answer = self.scaler.resize("guaranteed", {"app": {"requests": {"cpu": "100m"}}})
        self.assertEqual(code, 400)
        self.assertIn("QOS", answer["error"])
        self.assert_in_force("guaranteed", wanted, (200, 96 * MIB))
        self.assertEqual(self.cluster.pod("guaranteed")["status"]["qosClass"], "Guaranteed")

    def test_best_effort_is_left_as_it_is(self):
        self.run_pod("best-effort", request=None, limit=None)
        code, answer = self.scaler.resize("best-effort", {"app": {"requests": {"cpu": "50m"}}})
        self.assertEqual(code, 400)
        self.assertIn("QOS", answer["error"])
        now = self.cluster.pod("best-effort")
        self.assertEqual(now["status"]["qosClass"], "BestEffort")
        self.assertEqual(now["spec"]["containers"][0]["resources"], {})

    def test_namespace_that_is_not_watched(self):
        """Whose the pod is has to be asked for there."""
        self.start("Deployment")
        name = self.cluster.pods_of("deployment")[0]["metadata"]["name"]
        with Scaler("unwatched", namespaces="default") as scaler:
            wanted = resources(("150m", "64Mi"), ("250m", "128Mi"))
            code, answer = scaler.resize(name, {"app": wanted}, fallback=False)
            self.assertEqual(code, 200, answer)
        self.assert_in_force(name, wanted, (250, 128 * MIB))

    def test_sidecar(self):
        sidecar = container(
            "proxy", ("20m", "32Mi"), ("50m", "64Mi"), port=8081, restartPolicy="Always"
        )
        self.run_pod("with-sidecar", init=[sidecar])
        wanted = resources(("40m", "48Mi"), ("100m", "96Mi"))
        self.assert_resized(self.scaler.resize("with-sidecar", {"proxy": wanted}))
        self.assert_in_force("with-sidecar", wanted, (100, 96 * MIB), container="proxy", port=8081)
        self.assertEqual(self.cluster.limits("with-sidecar"), (200, 128 * MIB))

    def test_restart_container(self):
        policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
        self.run_pod("restarting", resizePolicy=policy)
        wanted = resources(("100m", "80Mi"), ("200m", "160Mi"))
        code, answer = self.scaler.resize("restarting", {"app": wanted})
        self.assertEqual((code, answer.get("scaling_method")), (200, "vertical"), answer)
        self.assert_in_force("restarting", wanted, (200, 160 * MIB), restarts=1)

    def test_less_memory_is_refused_by_the_api_server(self):
        if self.cluster.minor >= 34:
            self.skipTest("since 1.34 memory limits are cut in place")
        self.run_pod("growing")
        less = resources(("50m", "64Mi"), ("100m", "96Mi"))
        code, answer = self.scaler.resize("growing", {"app": less})
        self.assertEqual(code, 400, answer)
        self.assertIn("memory limits cannot be decreased", answer["error"])
        old = resources(("100m", "64Mi"), ("200m", "128Mi"))
        self.assert_in_force("growing", old, (200, 128 * MIB))

    def test_memory_below_usage_is_refused_by_the_kubelet_and_taken_back(self):
        self.needs(34, "the API server takes no cut of a memory limit")
        self.run_pod("holding", memory=60)
        since = audit.now() if audit.LOG else None
        less = resources(("100m", "16Mi"), ("200m", "24Mi"))
        code, answer = self.scaler.resize("holding", {"app": less})
        self.assertEqual(code, 400, answer)
        self.assertIn("usage", answer["error"])
        old = resources(("100m", "64Mi"), ("200m", "128Mi"))
        self.assert_in_force("holding", old, (200, 128 * MIB))
        if audit.LOG:
            time.sleep(5)
            self.assertEqual(
                audit.writes(since, "holding"),
                [("pods/resize", 200)] * 2,
                "the resize, its way back, no more",
            )

    def test_deferred_until_there_is_room(self):
        node = self.run_pod("waiting")["spec"]["nodeName"]
        allocatable = self.cluster.get(f"/api/v1/nodes/{node}")["status"]["allocatable"]["cpu"]
        half = int(millicores(allocatable) * 0.55)
        self.run_pod(
            "in-the-way", node=node, request=(f"{half}m", "32Mi"), limit=(f"{half}m", "64Mi")
        )
        wanted = resources((f"{half}m", "64Mi"), (f"{half}m", "128Mi"))
        code, answer = self.scaler.resize("waiting", {"app": wanted})
        self.assertEqual(code, 200, answer)
        self.assertIn("deferred", answer["details"]["pending"])
        conditions = resize_conditions(self.cluster.pod("waiting"))
        self.assertEqual(conditions, {"PodResizePending": "Deferred"})
        self.assertEqual(self.cluster.limits("waiting")[0], 200)
        self.cluster.delete("pods", "in-the-way")
        self.cluster.gone("pods", "in-the-way")
        until(
            120,
            "the kubelet has made up for it",
            lambda: not resize_conditions(self.cluster.pod("waiting")),
        )
        self.assert_in_force("waiting", wanted, (half, 128 * MIB))

    def test_more_than_the_node_has(self):
        self.run_pod("greedy")
        more = resources(("64", "64Mi"), ("64", "128Mi"))
        code, answer = self.scaler.resize("greedy", {"app": more})
        self.assertEqual(code, 400)
        self.assertIn(self.cluster.too_small, answer["error"])
        old = resources(("100m", "64Mi"), ("200m", "128Mi"))
        self.assert_in_force("greedy", old, (200, 128 * MIB))

    def test_what_admission_forbids(self):
        self.run_pod("rationed")
        more, less = {"limits": {"cpu": "3500m"}}, {"requests": {"cpu": "50m"}}
        for rule, wanted, said in [
            (
                admission.quota(self.cluster, limits_cpu="3", limits_memory="4Gi"),
                more,
                "exceeded quota",
            ),
            (
                admission.limit_range(self.cluster, max={"cpu": "1"}),
                more,
                "maximum cpu usage per Container is 1, but limit is 3500m",
            ),
            (
                admission.limit_range(self.cluster, min={"cpu": "80m"}),
                less,
                "minimum cpu usage per Container is 80m, but request is 50m",
            ),
            (
                admission.policy(self.cluster, cpu="1", reason="Forbidden"),
                more,
                "no more than 1 for anybody",
            ),
        ]:
            with (
                self.subTest(said=said),
                admission.in_force(self.cluster, rule, "rationed", wanted),
            ):
                code, answer = self.scaler.resize("rationed", {"app": wanted})
                self.assertEqual(code, 403, answer)
                self.assertIn(said, answer["error"])
                self.assertNotIn("service account lacks", answer["error"])
                self.assertEqual(self.cluster.limits("rationed")[0], 200)

    def test_what_is_not_there(self):
        self.run_pod("plain")
        since = audit.now() if audit.LOG else None
        self.assertEqual(self.scaler.resize("nobody", {"app": {"limits": {"cpu": "1"}}})[0], 404)
        self.assertEqual(self.scaler.resize("plain", {"other": {"limits": {"cpu": "1"}}})[0], 400)
        self.assertEqual(self.scaler.resize("plain", {"app": {"limits": {"cpu": "much"}}})[0], 400)
        if audit.LOG:
            self.assertEqual(audit.writes(since), [])
