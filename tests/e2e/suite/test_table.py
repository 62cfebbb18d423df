"""One table of resizes, held against the real cluster and against the one that `--simulate` is:
what the API server answers, and what the kubelet makes of it."""

import os
import subprocess
import unittest

from cluster import (
    NAMESPACE,
    Cluster,
    Refused,
    child,
    container,
    pod,
    resize_conditions,
    resources,
    status_of,
    until,
)
from scaler import BINARY, LOGS, free_port

DECREASED = "memory limits cannot be decreased unless resizePolicy is RestartContainer"
ADDED = "memory limits cannot be added unless resizePolicy is RestartContainer"
CLASS = "Pod QOS Class may not change as a result of resizing"
ONLY = "only cpu and memory resources are mutable"
SIDECAR = container("proxy", ("20m", "32Mi"), ("50m", "64Mi"), port=8081, restartPolicy="Always")
RESTARTING = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
PODS = {
    "burstable": {"memory": 60},
    "guaranteed": {"request": ("100m", "96Mi"), "limit": ("100m", "96Mi")},
    "unlimited": {"request": ("100m", "64Mi"), "limit": None},
    "best-effort": {"request": None, "limit": None},
    "restarting": {"resizePolicy": RESTARTING},
    "with-sidecar": {"init": [SIDECAR]},
}

# The pod, its new resources, the answer's code and what its message holds; and what it was before
# the release of that number.
ANSWERS = [
    ("burstable", resources(("150m", "80Mi"), ("300m", "160Mi")), 200, ""),
    ("burstable", resources(("50m", "48Mi"), ("100m", "128Mi")), 200, ""),
    ("burstable", resources(("50m", "48Mi"), ("100m", "96Mi")), 200, "", 34, 422, DECREASED),
    ("burstable", {"limits": {"memory": "100Mi"}}, 200, "", 34, 422, DECREASED),
    (
        "burstable",
        {"requests": {"cpu": "250m"}},
        422,
        "must be less than or equal to cpu limit of 200m",
    ),
    (
        "burstable",
        {"limits": {"cpu": "50m"}},
        422,
        "must be less than or equal to cpu limit of 50m",
    ),
    ("burstable", {"requests": {"cpu": "200m", "memory": "128Mi"}}, 422, CLASS),
    ("burstable", {"limits": {"cpu": None}}, 422, "resource limits cannot be removed"),
    ("burstable", {"limits": {"ephemeral-storage": "1Gi"}}, 422, ONLY),
    ("burstable", {"limits": {"cpu": "fast"}}, 422, "quantities must match the regular expression"),
    ("burstable", {"requests": {"cpu": "-100m"}}, 422, "must be greater than or equal to 0"),
    (
        "burstable",
        resources(("1000", "64Mi"), ("1000", "128Mi")),
        403,
        "node didn't have enough allocatable resources: cpu",
        36,
        200,
        "",
    ),
    ("guaranteed", resources(("200m", "96Mi"), ("200m", "96Mi")), 200, ""),
    ("guaranteed", {"requests": {"cpu": "50m"}}, 422, CLASS),
    ("unlimited", {"limits": {"cpu": "500m"}}, 200, ""),
    ("unlimited", {"limits": {"memory": "500Mi"}}, 200, "", 34, 422, ADDED),
    ("unlimited", {"requests": {"cpu": None}}, 422, "resource requests cannot be removed"),
    ("best-effort", {"requests": {"cpu": "50m"}}, 422, CLASS),
    ("restarting", {"limits": {"memory": "100Mi"}}, 200, ""),
    ("nobody", {"limits": {"cpu": "1"}}, 404, 'pods "nobody" not found'),
]


class Simulated(Cluster):
    """The cluster inside of the service, ten times as fast as the clock."""

    def __init__(self):
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        environment = {
            "HOST": "127.0.0.1",
            "PORT": str(free_port()),
            "MODEL_PATH": os.environ["E2E_MODEL"],
            "AUTO_SCALE_ENABLED": "false",
            "LD_LIBRARY_PATH": os.environ["LD_LIBRARY_PATH"],
        }
        simulated = [BINARY, "--simulate", "--simulate-listen", address, "--speed", "10"]
        with open(os.path.join(LOGS, "simulated.log"), "w") as log:
            self.process = child(simulated, env=environment, stdout=subprocess.DEVNULL, stderr=log)
        until(30, "the simulated cluster answers", lambda: self.get("/version"))
        self.minor = self.minor_version()
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})


class Table:
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.start()
        cls.addClassCleanup(cls.cluster.close)
        for name, spec in PODS.items():
            cls.addClassCleanup(cls.cluster.gone, "pods", name)
            cls.addClassCleanup(cls.cluster.delete, "pods", name)
            cls.cluster.create("pods", pod(name, **spec))
        for name in PODS:
            until(
                60, f"{name} runs", lambda: "running" in status_of(cls.cluster.pod(name))["state"]
            )

    def resize(self, name, resources, container="app", field="containers", query="", **metadata):
        changed = [{"name": container, "resources": resources}]
        patch = {"metadata": metadata, "spec": {field: changed}}
        return self.cluster.patch(self.cluster.path("pods", name) + "/resize" + query, patch)

    def assert_refused(self, code, message, act, *arguments, **more):
        with self.assertRaises(Refused) as refused:
            act(*arguments, **more)
        self.assertEqual(refused.exception.code, code, refused.exception)
        self.assertIn(message, refused.exception.message)

    def assert_in_force(self, name, wanted, container="app", restarts=0):
        def in_force():
            now = self.cluster.pod(name)
            status = status_of(now, container)
            return (
                status.get("resources") == wanted
                and status["restartCount"] == restarts
                and not resize_conditions(now)
            )

        until(60, f"{name} has {wanted}", in_force)

    def test_answers(self):
        for name, changed, code, message, *before in ANSWERS:
            if before and self.cluster.minor < before[0]:
                code, message = before[1:]
            with self.subTest(pod=name, resources=changed):
                if code == 200:
                    self.assertEqual(self.resize(name, changed, query="?dryRun=All")["kind"], "Pod")
                else:
                    self.assert_refused(
                        code, message, self.resize, name, changed, query="?dryRun=All"
                    )

    def test_preconditions(self):
        wanted = {"limits": {"cpu": "250m"}}
        self.assert_refused(409, "", self.resize, "burstable", wanted, resourceVersion="1")
        other = "00000000-0000-0000-0000-000000000000"
        self.assert_refused(422, "", self.resize, "burstable", wanted, uid=other)
        self.assert_refused(
            422,
            "containers may not be added or removed on resize",
            self.resize,
            "burstable",
            wanted,
            container="stranger",
        )
        whole = {"spec": {"containers": [{"name": "app", "resources": wanted}]}}
        self.assert_refused(
            422,
            "pod updates may not change fields other than",
            self.cluster.patch,
            self.cluster.path("pods", "burstable"),
            whole,
        )

    def test_in_place_and_back(self):
        for wanted in (
            resources(("200m", "96Mi"), ("200m", "96Mi")),
            resources(("100m", "96Mi"), ("100m", "96Mi")),
        ):
            self.resize("guaranteed", wanted)
            self.assert_in_force("guaranteed", wanted)

    def test_sidecar(self):
        wanted = resources(("40m", "48Mi"), ("100m", "96Mi"))
        self.resize("with-sidecar", wanted, container="proxy", field="initContainers")
        self.assert_in_force("with-sidecar", wanted, container="proxy")

    def test_restart_container(self):
        wanted = resources(("100m", "80Mi"), ("200m", "160Mi"))
        self.resize("restarting", wanted)
        self.assert_in_force("restarting", wanted, restarts=1)

    def test_deferred_while_the_node_is_full(self):
        old = self.cluster.pod("unlimited")
        node = self.cluster.get(f"/api/v1/nodes/{old['spec']['nodeName']}")
        self.resize("unlimited", {"requests": {"cpu": node["status"]["allocatable"]["cpu"]}})
        until(
            30,
            "deferred",
            lambda: (
                resize_conditions(self.cluster.pod("unlimited")) == {"PodResizePending": "Deferred"}
            ),
        )
        now = status_of(self.cluster.pod("unlimited"))["resources"]
        self.assertEqual(now, old["spec"]["containers"][0]["resources"])
        self.resize("unlimited", {"requests": {"cpu": "100m"}})
        self.assert_in_force("unlimited", old["spec"]["containers"][0]["resources"])

    def test_more_than_the_node_has(self):
        """Where the API server takes it, the kubelet does not."""
        if self.cluster.minor >= 36:
            self.skipTest("since 1.36 the API server refuses it")
        old = self.cluster.pod("burstable")["spec"]["containers"][0]["resources"]
        self.resize("burstable", resources(("64", "64Mi"), ("64", "128Mi")))
        until(
            30,
            "infeasible",
            lambda: (
                resize_conditions(self.cluster.pod("burstable"))
                == {"PodResizePending": "Infeasible"}
            ),
        )
        self.assertEqual(status_of(self.cluster.pod("burstable"))["resources"], old)
        self.resize("burstable", old)
        self.assert_in_force("burstable", old)

    def test_memory_below_usage(self):
        if self.cluster.minor < 34:
            self.skipTest(f"before 1.34 {DECREASED}")
        old = self.cluster.pod("burstable")["spec"]["containers"][0]["resources"]
        self.resize("burstable", resources(("100m", "16Mi"), ("200m", "20Mi")))
        until(
            60,
            "the kubelet's error",
            lambda: (
                resize_conditions(self.cluster.pod("burstable")) == {"PodResizeInProgress": "Error"}
            ),
        )
        now = status_of(self.cluster.pod("burstable"))["resources"]
        self.assertEqual(now["limits"], old["limits"])
        self.resize("burstable", old)
        self.assert_in_force("burstable", old)


class OnTheRealCluster(Table, unittest.TestCase):
    start = Cluster


class OnTheSimulatedCluster(Table, unittest.TestCase):
    start = Simulated
