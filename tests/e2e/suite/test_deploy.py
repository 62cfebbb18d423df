"""deploy/ as it is: the API server takes every overlay, and the service runs in its pod, under its
limits and with its rights."""

import json
import os
import re
import subprocess
import tempfile
import unittest

import audit
from case import ClusterTest
from cluster import NAMESPACE, until
from scaler import ROOT, Scaler, kubectl

IMAGE = os.environ.get("E2E_SCALER_IMAGE")
POD = {"request": ("50m", "64Mi"), "limit": ("100m", "96Mi")}
UP = {"app": {"limits": {"cpu": "150m"}}}

# Every variable: what is set, and what GET /config then says.
VARIABLES = {
    "MODEL_PATH": ("/models/final-models/dqn_model.pth",) * 2,
    "STATE_DIM": ("8", 8),
    "ACTION_DIM": ("3", 3),
    "HISTORY_WINDOW": ("4", 4),
    "MIN_CPU": ("0.2", 0.2),
    "MAX_CPU": ("4", 4.0),
    "MIN_MEMORY": ("30", 30),
    "MAX_MEMORY": ("8192", 8192),
    "SCALE_FACTOR": ("0.25", 0.25),
    "DRY_RUN": ("false", False),
    "KUBERNETES_IN_CLUSTER": ("true", True),
    "NAMESPACES": (f"{NAMESPACE},default", [NAMESPACE, "default"]),
    "AUTO_SCALE_ENABLED": ("false", False),
    "AUTO_SCALE_INTERVAL": ("7", 7),
    "SCALING_COOLDOWN": ("2", 2),
    "BORN_RIGHT_SIZED": ("true", True),
    "STARTUP_PERIOD": ("90", 90),
    "CONTROLS": ("limits", "limits"),
    "SECOND_LOOK_INTERVAL": ("3", 3),
    "SECOND_LOOK_INTERVAL_METRICS": ("0", 0),
    "KUBELET_INSECURE_TLS": ("true", True),
    "KUBELET_PREFERRED_ADDRESS_TYPES": ("Hostname,InternalIP", ["Hostname", "InternalIP"]),
    "EXCLUDED_DEPLOYMENTS": ("one,two", ["one", "two"]),
    "EXCLUDED_LABELS": ("tier=cache", {"tier": "cache"}),
    "EMERGENCY_SCALE_UP": ("false", False),
    "RESIZE_CONCURRENCY": ("2", 2),
    "DEFERRED_TIMEOUT": ("200", 200),
    "RESIZE_TIMEOUT": ("9", 9),
    "METRICS_MAX_AGE": ("100", 100),
    "GUARD_CPU_WINDOW": ("3600", 3600),
    "GUARD_MEMORY_WINDOW": ("7200", 7200),
    "GUARD_CPU_FADE": ("0.3", 0.3),
    "GUARD_MEMORY_FADE": ("0.4", 0.4),
    "GUARD_CPU_HEADROOM": ("0.1", 0.1),
    "GUARD_MEMORY_HEADROOM": ("0.2", 0.2),
    "CAUTION": ("2", 2.0),
    "DECISIONS_KEPT": ("2000", 2000),
    "CHANGES_KEPT": ("5000", 5000),
    "CHANGES_KEPT_DAYS": ("3", 3),
    "PRICE_CORE_HOUR": ("0.04", 0.04),
    "PRICE_GIB_HOUR": ("0.005", 0.005),
    "PROMETHEUS_URL": ("http://prometheus.example:9090",) * 2,
    "PROMETHEUS_HEADERS": ("X-Scope-OrgID=a", {"X-Scope-OrgID": "a"}),
    "PROMETHEUS_LABELS": ("cluster=here", {"cluster": "here"}),
    "PROMETHEUS_DAYS": ("3", 3),
    "PROMETHEUS_QUERIES_PER_MINUTE": ("30", 30),
    "WRITES_PER_SECOND": ("5", 5),
    "RESIZES_PER_CYCLE": ("50", 50),
    "RESIZES_PER_NAMESPACE": ("10", 10),
    "POD_METRICS": ("pod", "pod"),
    "ALLOWED_NAMESPACES": (f"{NAMESPACE},default,other", [NAMESPACE, "default", "other"]),
    "READ_ONLY": ("true", True),
    "MAX_CONNECTIONS": ("500", 500),
    "MAX_CONNECTIONS_PER_ADDRESS": ("100", 100),
    "CORS_ORIGINS": ("https://a.example,http://b:3000", ["https://a.example", "http://b:3000"]),
}
# They name files that the pod does not have, and a folder: the tests of the service set them.
FILES = (
    "WRITE_TOKEN_FILE",
    "TLS_CERT",
    "TLS_KEY",
    "PROMETHEUS_TOKEN_FILE",
    "PROMETHEUS_CA_FILE",
)
FOLDER = {"DATA_DIR"}
# They name a file that the pod does not have, or another cluster than the one it is in.
NOT_IN_A_POD = {
    "CONFIG",
    "DQN_SCALER_URL",
    "SIMULATE",
    "SIMULATE_LISTEN",
    "SIMULATE_RECORDINGS",
    "SPEED",
}
FIELDS = {"KUBERNETES_IN_CLUSTER": "in_cluster"}
# Where to listen and who leads is no configuration: that it answers tells.
ELSEWHERE = {
    "HOST": "0.0.0.0",
    "PORT": "5000",
    "LEADER_ELECT": "false",
    "LEASE_NAME": "other",
    "LEASE_NAMESPACE": "default",
    "POD_NAME": "me",
    "LEASE_DURATION": "30",
    "RENEW_DEADLINE": "20",
    "RETRY_PERIOD": "3",
    "LOG_FORMAT": "json",
}


def overlays():
    return sorted(os.listdir(f"{ROOT}/deploy/overlays"))


def apply(overlay, literals=None, image=None, watched=None, components=()):
    """Applies an overlay, with a kustomization on top of it as a user would write one."""
    with tempfile.TemporaryDirectory() as folder:

        def path(below):
            return os.path.relpath(f"{ROOT}/deploy/{below}", os.path.realpath(folder))

        top = {
            "resources": [path(f"overlays/{overlay}")],
            "patches": [],
            "components": [path(f"components/{name}") for name in components],
            "replicas": [{"name": "dqn-scaler", "count": 1 if image else 0}],
        }
        if literals:
            top["configMapGenerator"] = [
                {
                    "name": "dqn-scaler",
                    "namespace": "dqn-scaler",
                    "behavior": "merge",
                    "literals": [f"{key}={value}" for key, value in literals.items()],
                }
            ]
        if watched:
            patch = [{"op": "replace", "path": "/metadata/namespace", "value": watched}]
            top["patches"].append({"target": {"kind": "RoleBinding"}, "patch": json.dumps(patch)})
        if image:
            name, tag = image.rsplit(":", 1)
            top["images"] = [{"name": "dqn-scaler", "newName": name, "newTag": tag}]
            # This cluster has no proxy for the address of the API server's service.
            host, port = os.environ["API"].split(":")
            env = [
                {"name": "KUBERNETES_SERVICE_HOST", "value": host},
                {"name": "KUBERNETES_SERVICE_PORT", "value": port},
            ]
            patch = [{"op": "add", "path": "/spec/template/spec/containers/0/env", "value": env}]
            top["patches"].append({"target": {"kind": "Deployment"}, "patch": json.dumps(patch)})
        with open(f"{folder}/kustomization.yaml", "w") as file:
            json.dump(top, file)
        return kubectl("apply", "-k", folder)


class Manifests(ClusterTest):
    def test_api_server_accepts_every_overlay(self):
        for overlay in overlays():
            done = subprocess.run(
                ["kubectl", "apply", "--dry-run=server", "-k", f"{ROOT}/deploy/overlays/{overlay}"],
                capture_output=True,
                text=True,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""), overlay)
            for kind in (
                "namespace",
                "serviceaccount",
                "configmap",
                "deployment.apps",
                "service",
                "poddisruptionbudget.policy",
                "networkpolicy.networking.k8s.io",
                "clusterrole.rbac.authorization.k8s.io",
            ):
                self.assertRegex(done.stdout, f"(?m)^{re.escape(kind)}/", overlay)

    def test_every_variable_is_documented(self):
        with open(f"{ROOT}/docs/configuration.md") as page:
            documented = re.findall(r"`--[a-z-]+` \| `([A-Z_]+)` \|", page.read())
        tested = set(VARIABLES) | set(FILES) | FOLDER | set(ELSEWHERE)
        self.assertEqual(set(documented), tested | NOT_IN_A_POD)

    def test_kubelets_may_be_asked_and_reached(self):
        with tempfile.TemporaryDirectory() as folder:
            top = {
                "resources": [os.path.relpath(f"{ROOT}/deploy/overlays/cluster-wide", folder)],
                "components": [
                    os.path.relpath(f"{ROOT}/deploy/components/kubelet-metrics", folder)
                ],
            }
            with open(f"{folder}/kustomization.yaml", "w") as file:
                json.dump(top, file)
            rendered = kubectl("kustomize", folder)
        self.assertRegex(rendered, r"resources:\n +- nodes\n +- nodes/metrics\n")
        self.assertRegex(rendered, r"- port: 6443\n +- port: 10250\n|- port: 10250\n")

    def test_only_live_overlays_can_change_anything(self):
        self.assertIn("namespaced", overlays())
        for overlay in overlays():
            rendered = kubectl("kustomize", f"{ROOT}/deploy/overlays/{overlay}")
            live = overlay.endswith("-live")
            self.assertIn(f'DRY_RUN: "{str(not live).lower()}"', rendered, overlay)
            self.assertEqual("pods/resize" in rendered, live, overlay)
            self.assertEqual(
                "kind: ClusterRoleBinding" in rendered, overlay.startswith("cluster-wide"), overlay
            )

    def test_replicas_may_hold_the_lease_that_they_are_told_of(self):
        rendered = kubectl("kustomize", f"{ROOT}/deploy/overlays/cluster-wide-replicated-live")
        lease = re.search(r"LEASE_NAME: (\S+)", rendered)[1]
        self.assertRegex(rendered, f"resourceNames:\n +- {lease}\n")

    @unittest.skipIf(
        os.environ.get("E2E_USE_CURRENT"), "it takes the cluster-wide rights away for a while"
    )
    def test_namespaced_rights_end_at_the_namespace(self):
        self.run_pod("fenced", **POD)
        began = audit.now()
        self.addCleanup(lambda: audit.EXPECTED_DENIALS.append((began, audit.now())))
        self.addCleanup(kubectl, "delete", "rolebinding", "--all", f"--namespace={NAMESPACE}")
        self.addCleanup(apply, "cluster-wide-live")
        kubectl("delete", "clusterrolebinding", "dqn-scaler-reader", "dqn-scaler-resizer")
        apply("namespaced", watched=NAMESPACE)
        with Scaler("namespaced") as scaler:
            self.assertEqual([pod["name"] for pod in scaler.get("/pods")[1]["pods"]], ["fenced"])
            for namespace, verb, resource in [
                ("default", "get", "pods"),
                (NAMESPACE, "patch", "pods/resize"),
            ]:
                code, answer = scaler.resize("fenced", UP, namespace=namespace)
                self.assertEqual(code, 500, answer)
                self.assertIn(f'lacks the verb "{verb}" on "{resource}"', answer["error"])
            apply("namespaced-live", watched=NAMESPACE)
            until(10, "the right to resize", lambda: scaler.resize("fenced", UP)[0] == 200)
            self.assertEqual(self.cluster.limits("fenced")[0], 150)


@unittest.skipUnless(IMAGE, "no image of the service")
class Deployed(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.service = "/api/v1/namespaces/dqn-scaler/services/dqn-scaler:http/proxy"
        cls.addClassCleanup(
            kubectl, "--namespace=dqn-scaler", "scale", "deployment", "dqn-scaler", "--replicas=0"
        )

    def deploy(self, *components, **literals):
        apply("cluster-wide-live", image=IMAGE, literals=literals, components=components)
        kubectl(
            "--namespace=dqn-scaler",
            "rollout",
            "status",
            "deployment",
            "dqn-scaler",
            "--timeout=90s",
        )
        pods = self.cluster.get("/api/v1/namespaces/dqn-scaler/pods")["items"]
        return next(pod for pod in pods if "deletionTimestamp" not in pod["metadata"])

    def text(self, path):
        return kubectl("get", "--raw", self.service + path)

    def test_variables(self):
        self.deploy(**ELSEWHERE, **{name: given for name, (given, _) in VARIABLES.items()})
        told = self.cluster.get(self.service + "/config")
        expected = {FIELDS.get(name, name.lower()): value for name, (_, value) in VARIABLES.items()}
        self.assertEqual(expected | {name.lower(): None for name in FILES}, told)

    def test_https_and_a_token(self):
        with tempfile.TemporaryDirectory() as folder:
            cert, key = f"{folder}/tls.crt", f"{folder}/tls.key"
            subprocess.run(
                [
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "rsa:2048",
                    "-nodes",
                    "-days",
                    "1",
                    "-subj",
                    "/CN=dqn-scaler",
                    "-keyout",
                    key,
                    "-out",
                    cert,
                ],
                check=True,
                capture_output=True,
            )
            token = "of-sixteen-letters-or-more"
            for secret in (
                ["tls", "dqn-scaler-tls", f"--cert={cert}", f"--key={key}"],
                ["generic", "dqn-scaler-write-token", f"--from-literal=token={token}"],
            ):
                kubectl("--namespace=dqn-scaler", "create", "secret", *secret)
                self.addCleanup(kubectl, "--namespace=dqn-scaler", "delete", "secret", secret[1])
        # Its probes are answered over HTTPS, or it would not be ready.
        pod = self.deploy("tls", "write-token", NAMESPACES=NAMESPACE)
        host = f"https://{pod['status']['podIP']}:5000"

        def ask(path, *options):
            done = subprocess.run(
                [
                    "curl",
                    "--silent",
                    "--insecure",
                    "--write-out",
                    "%{http_code}",
                    *options,
                    host + path,
                ],
                check=True,
                capture_output=True,
                text=True,
            )
            return int(done.stdout[-3:])

        write = ("--json", '{"scale_factor": 0.3}')
        self.assertEqual((ask("/health"), ask("/config", *write)), (200, 401))
        authorized = (*write, "--header", f"Authorization: Bearer {token}")
        self.assertEqual(ask("/config", *authorized), 200)

    def test_as_a_pod(self):
        pod = self.deploy(NAMESPACES=NAMESPACE, AUTO_SCALE_INTERVAL=2, SCALING_COOLDOWN=0)
        self.assertEqual(self.text("/livez"), "ok")
        self.assertEqual(json.loads(self.text("/readyz"))["status"], "ready")
        self.assertEqual(json.loads(self.text("/health"))["status"], "healthy")
        budget = "/apis/policy/v1/namespaces/dqn-scaler/poddisruptionbudgets/dqn-scaler"
        until(
            20,
            "the budget counts the pod",
            lambda: self.cluster.get(budget)["status"]["disruptionsAllowed"] == 1,
        )

        process = until(5, "its process", lambda: process_of(pod["metadata"]["uid"]))
        self.assertEqual(process["Uid"].split(), ["65532"] * 4)
        none = dict.fromkeys(("CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)
        self.assertEqual({name: int(process[name], 16) for name in none}, none)
        self.assertEqual((process["NoNewPrivs"], process["Seccomp"]), ("1", "2"))
        self.assertTrue(process["root"].startswith("ro"), process["root"])

        # The model of the image decides here, by itself.
        self.run_pod("starving", cpu=500, memory=20, **POD)
        until(
            120,
            "more CPU for a pod that uses all it may",
            lambda: self.cluster.limits("starving")[0] >= 140,
            pause=1,
        )

        path = f"namespaces/dqn-scaler/pods/{pod['metadata']['name']}"
        measured = lambda: self.cluster.get(f"/apis/metrics.k8s.io/v1beta1/{path}")["containers"]
        usage = until(60, "it is measured itself", measured, pause=1)[0]["usage"]
        mebibytes = int(usage["memory"].removesuffix("Ki")) / 1024
        asked = pod["spec"]["containers"][0]["resources"]
        print(
            f"uses {usage['cpu']} of CPU and {mebibytes:.0f} MiB, of {asked}", end=" ", flush=True
        )
        requested = int(asked["requests"]["memory"].removesuffix("Mi"))
        self.assertLess(mebibytes, requested, "the request covers what it uses")
        now = self.cluster.get(f"/api/v1/{path}")
        self.assertEqual(now["status"]["containerStatuses"][0]["restartCount"], 0)


def process_of(uid):
    """The fields of /proc/PID/status of the pod's service, and how its root file system is
    mounted."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup") as cgroup, open(f"/proc/{pid}/status") as status:
                fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
                if f"pod{uid}" in cgroup.read() and fields["Name"] == "dqn-scaler":
                    with open(f"/proc/{pid}/mountinfo") as mounts:
                        fields["root"] = next(
                            mount.split()[5] for mount in mounts if mount.split()[4] == "/"
                        )
                    return fields
        except OSError:
            continue  # it has ended meanwhile
    return None
