"""What may happen between a decision and its resize. A meddler between the scaler and the API
server makes it happen then."""

import os
import subprocess
import threading
import time
import unittest

import audit
from case import ClusterTest
from cluster import NAMESPACE, resources, status_of, until, workload
from meddler import Meddler
from scaler import SCRIPT, Scaler

UP = {"app": resources(("150m", "64Mi"), ("300m", "128Mi"))}


class Faults(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.meddler = Meddler()
        cls.addClassCleanup(cls.meddler.close)
        cls.scaler = Scaler("faults", server=cls.meddler.url)
        cls.addClassCleanup(cls.scaler.close)

    def test_pod_deleted_before_the_resize(self):
        self.run_pod("short-lived")

        def delete():
            self.cluster.delete("pods", "short-lived")
            self.cluster.gone("pods", "short-lived")

        self.meddler.before("PATCH", "/resize", delete)
        code, answer = self.scaler.resize("short-lived", UP)
        self.assertEqual(code, 404, answer)

    def test_pod_replaced_before_the_resize(self):
        """The new pod has the old one's name, but is no business of the old decision."""
        self.addCleanup(self.cluster.gone, "pods", "replaced-0")
        self.addCleanup(self.cluster.delete, "statefulsets", "replaced")
        self.cluster.create("statefulsets", workload("StatefulSet", "replaced"))
        self.cluster.answers("replaced-0")
        old = self.cluster.pod("replaced-0")

        def replace():
            self.cluster.delete("pods", "replaced-0")
            until(
                30,
                "a new pod",
                lambda: self.cluster.pod("replaced-0")["metadata"]["uid"] != old["metadata"]["uid"],
            )

        self.meddler.before("PATCH", "/resize", replace)
        code, answer = self.scaler.resize("replaced-0", UP)
        self.assertEqual(code, 404, answer)
        new = self.cluster.pod("replaced-0")["spec"]["containers"][0]["resources"]
        self.assertEqual(new, old["spec"]["containers"][0]["resources"])
        template = self.cluster.get(self.cluster.path("statefulsets", "replaced"))
        self.assertEqual(template["metadata"]["generation"], 1)

    def test_conflict(self):
        self.run_pod("contended")
        self.meddler.before("PATCH", "/resize", lambda: (409, "the object has been modified"))
        code, answer = self.scaler.resize("contended", UP)
        self.assertEqual(code, 200, answer)
        self.assertEqual(self.cluster.limits("contended")[0], 300)

    def test_forbidden_names_the_right_that_is_missing(self):
        self.run_pod("forbidden")
        message = (
            'pods "forbidden" is forbidden: User "x" cannot patch resource "pods/resize" in '
            'API group "" in the namespace "default"'
        )
        self.meddler.before("PATCH", "/resize", lambda: (403, message))
        code, answer = self.scaler.resize("forbidden", UP)
        self.assertEqual(code, 500)
        self.assertIn('"patch"', answer["error"])
        self.assertIn('"pods/resize"', answer["error"])

    @unittest.skipIf(os.environ.get("E2E_USE_CURRENT"), "the API server is the user's own")
    def test_api_server_restarts_in_the_middle_of_a_cycle(self):
        names = ["one", "two", "three"]
        for name in names:
            self.run_pod(name, cpu=500, memory=30, request=("50m", "64Mi"), limit=("100m", "96Mi"))
        shown = lambda name: self.scaler.get(f"/pods/{NAMESPACE}/{name}")[1]
        busy = lambda name: (shown(name)["metrics"] or {}).get("cpu_usage_cores")
        for name in names:
            until(60, f"{name} is measured", lambda: (busy(name) or 0) > 0.08, pause=1)

        def start_later():
            time.sleep(2)
            subprocess.run([SCRIPT, "start", "kube-apiserver"], check=True)

        def restart():
            subprocess.run([SCRIPT, "stop", "kube-apiserver"], check=True)
            threading.Thread(target=start_later).start()

        began = audit.now()
        self.addCleanup(lambda: audit.EXPECTED_DENIALS.append((began, audit.now())))
        self.meddler.before("PATCH", "/resize", restart)
        code, answer = self.scaler.post("/scale/all")
        self.assertEqual(code, 200, answer)
        ours = {
            r["pod_name"]: (r["status"], r["message"])
            for r in answer["results"]
            if r["pod_name"] in names
        }
        until(30, "the API server is back", lambda: self.cluster.get("/version"), pause=0.5)
        # What the pass could not finish inside its budget the next passes do.
        grown = lambda name: self.cluster.limits(name)[0] > 100
        until(
            60,
            f"all are resized, after {ours}",
            lambda: all(map(grown, names)) or (self.scaler.post("/scale/all") and False),
            pause=2,
        )
        until(30, "the watch is in order", lambda: self.scaler.get("/readyz")[0] == 200)
        self.run_pod("latecomer")
        listed = lambda: [pod["name"] for pod in self.scaler.get("/pods")[1]["pods"]]
        until(15, "a new pod is seen", lambda: "latecomer" in listed())
        restarts = [status_of(self.cluster.pod(name))["restartCount"] for name in names]
        self.assertEqual(restarts, [0, 0, 0])
