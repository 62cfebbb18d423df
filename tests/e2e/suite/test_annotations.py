"""What workloads ask for by annotations, and the other autoscalers that they have."""

import json
import tempfile

from case import ClusterTest
from cluster import NAMESPACE, until
from scaler import Scaler, kubectl

PREFIX = "dqn-scaler.io/"
# The scaler wants more CPU for it: it uses all it may.
BUSY = {"cpu": 500, "memory": 20, "request": ("50m", "64Mi"), "limit": ("100m", "96Mi")}
VPA = "verticalpodautoscalers.autoscaling.k8s.io"
# Of the add-on's definition no more than a VerticalPodAutoscaler needs to be stored.
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": VPA,
        "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
    },
    "spec": {
        "group": "autoscaling.k8s.io",
        "scope": "Namespaced",
        "names": {
            "kind": "VerticalPodAutoscaler",
            "plural": "verticalpodautoscalers",
            "singular": "verticalpodautoscaler",
            "shortNames": ["vpa"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                        },
                    }
                },
            }
        ],
    },
}


def apply(manifest):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(manifest, file)
        file.flush()
        kubectl("apply", f"--namespace={NAMESPACE}", "--filename", file.name)


class Asked(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not kubectl("get", "crd", VPA, "--ignore-not-found"):
            cls.addClassCleanup(kubectl, "delete", "crd", VPA)
            apply(DEFINITION)
            kubectl("wait", "--for=condition=Established", f"crd/{VPA}", "--timeout=30s")
        cls.scaler = Scaler(cls.__name__, scaling_cooldown=0)
        cls.addClassCleanup(cls.scaler.close)

    def deploy(self, **annotations):
        """A Deployment that is busy by the figures too: its pod's name."""
        kinds, name = self.start("Deployment", **BUSY)
        self.annotate(**annotations)
        pod = self.cluster.pods_of(name)[0]["metadata"]["name"]

        def millicores():
            path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods/{pod}"
            containers = self.cluster.get(path)["containers"]
            return int(containers[0]["usage"]["cpu"].removesuffix("n")) / 1e6

        until(60, f"{pod} is measured", lambda: millicores() >= 80, pause=1)
        return pod

    def annotate(self, **annotations):
        named = {PREFIX + name.replace("_", "-"): value for name, value in annotations.items()}
        self.cluster.patch(
            self.cluster.path("deployments", "deployment"), {"metadata": {"annotations": named}}
        )

    def beside(self, kind, manifest):
        """Another autoscaler, for the time of a test."""
        self.addCleanup(
            kubectl, "delete", kind, "competing", f"--namespace={NAMESPACE}", "--ignore-not-found"
        )
        apply({"metadata": {"name": "competing"}, **manifest})

    def until_skipped(self, pod, reason):
        outcome = until(
            20, reason, lambda: (o := self.scaler.outcome(pod)).get("reason") == reason and o
        )
        self.assertEqual(outcome["status"], "skipped")
        return outcome["message"]

    def limit(self, pod):
        return self.cluster.limits(pod)[0]

    def until_limit(self, pod, what, right):
        """Passes over the pods until this one's limit is right."""
        until(30, what, lambda: self.scaler.outcome(pod) and right(self.limit(pod)), pause=1)

    def test_switched_off_then_bounded(self):
        pod = self.deploy(mode="off")
        self.until_skipped(pod, "switched_off")
        self.annotate(mode="live", max_cpu="lots")
        fault = f"on Deployment deployment, annotation {PREFIX}max-cpu"
        self.assertIn(fault, self.until_skipped(pod, "invalid_annotation"))
        until(
            20,
            "an Event of it",
            lambda: (
                fault in kubectl("describe", "deployment", "deployment", f"--namespace={NAMESPACE}")
            ),
        )
        self.assertEqual(self.limit(pod), 100)
        self.annotate(max_cpu="110m")
        self.until_limit(pod, "as much as it may have", lambda limit: limit == 110)
        for _ in range(3):
            self.assertNotEqual(self.scaler.outcome(pod)["status"], "failed")
        self.assertEqual(self.limit(pod), 110)

    def test_recommended(self):
        pod = self.deploy(mode="recommend")
        outcome = until(
            40,
            "a recommendation",
            lambda: (o := self.scaler.outcome(pod))["status"] == "dry_run" and o,
        )
        self.assertEqual(outcome["actions"]["cpu"], "INCREASE")
        self.assertEqual(self.limit(pod), 100)

    def test_hpa_on_cpu(self):
        pod = self.deploy(mode="off")
        self.until_skipped(pod, "switched_off")
        metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 90}}
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "deployment"}
        self.beside(
            "hpa",
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "spec": {
                    "minReplicas": 1,
                    "maxReplicas": 1,
                    "scaleTargetRef": target,
                    "metrics": [{"type": "Resource", "resource": metric}],
                },
            },
        )
        self.until_shown(pod, ["HorizontalPodAutoscaler"])
        self.annotate(mode="live", max_memory="96Mi", min_memory="96Mi")
        self.assertIn("competing", self.until_skipped(pod, "managed_by_hpa"))
        self.assertEqual(self.limit(pod), 100)
        kubectl("delete", "hpa", "competing", f"--namespace={NAMESPACE}")
        self.until_limit(pod, "it is the scaler's again", lambda limit: limit > 100)

    def until_shown(self, pod, kinds):
        shown = lambda: next(p for p in self.scaler.get("/pods")[1]["pods"] if p["name"] == pod)
        until(
            20,
            f"beside {kinds}",
            lambda: [competing["kind"] for competing in shown().get("managed_by", [])] == kinds,
        )

    def test_vpa(self):
        pod = self.deploy(mode="off")
        self.until_skipped(pod, "switched_off")
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "deployment"}
        manifest = lambda mode: {
            "apiVersion": "autoscaling.k8s.io/v1",
            "kind": "VerticalPodAutoscaler",
            "spec": {"targetRef": target, "updatePolicy": {"updateMode": mode}},
        }
        self.beside("vpa", manifest("Auto"))
        self.until_shown(pod, ["VerticalPodAutoscaler"])
        self.annotate(mode="live")
        self.assertIn("competing", self.until_skipped(pod, "managed_by_vpa"))
        self.assertEqual(self.limit(pod), 100)
        apply({"metadata": {"name": "competing"}, **manifest("Off")})
        self.until_limit(pod, "one that recommends does not compete", lambda limit: limit > 100)
