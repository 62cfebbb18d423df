"""deploy/chart: it says what the overlays and components of deploy/ say, and it installs."""

import json
import os
import re
import subprocess
import tempfile
import unittest

from case import ClusterTest
from cluster import NAMESPACE, until
from scaler import ROOT, kubectl

CHART = f"{ROOT}/deploy/chart"
IMAGE = os.environ.get("E2E_SCALER_IMAGE")
POD = {"request": ("50m", "64Mi"), "limit": ("100m", "96Mi")}
OF_HELM = {"app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"}
# An overlay, its components, and the values that mean the same.
SAME = [
    ("namespaced", (), {}),
    ("namespaced-live", (), {"live": True}),
    ("cluster-wide", (), {"clusterWide": True}),
    ("cluster-wide-live", (), {"clusterWide": True, "live": True}),
    ("cluster-wide-live", ("kubelet-metrics",), {"kubeletMetrics": True}),
    ("cluster-wide-live", ("born-right-sized",), {"bornRightSized": True}),
    ("cluster-wide-live", ("persistent",), {"persistent": {"enabled": True}}),
    ("cluster-wide-live", ("tls",), {"tls": {"enabled": True}}),
    ("cluster-wide-live", ("write-token",), {"writeToken": {"enabled": True}}),
    ("cluster-wide-replicated-live", (), {"replicated": True}),
    (
        "cluster-wide-replicated-live",
        ("tls", "write-token", "kubelet-metrics", "born-right-sized"),
        {
            "replicated": True,
            "tls": {"enabled": True},
            "writeToken": {"enabled": True},
            "kubeletMetrics": True,
            "bornRightSized": True,
        },
    ),
]


def helm(*arguments, check=True, **how):
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True, **how)
    if check and done.returncode:
        raise AssertionError(f"helm {' '.join(arguments)}: {done.stderr}")
    return done if not check else done.stdout


def rendered_by_helm(values, release="dqn-scaler", namespace="dqn-scaler"):
    arguments = ["template", release, CHART, f"--namespace={namespace}", "--values=-"]
    return objects(helm(*arguments, input=json.dumps(values)))


def rendered_by_kustomize(overlay, components):
    with tempfile.TemporaryDirectory() as folder:

        def path(below):
            return os.path.relpath(f"{ROOT}/deploy/{below}", os.path.realpath(folder))

        top = {
            "resources": [path(f"overlays/{overlay}")],
            "components": [path(f"components/{name}") for name in components],
        }
        with open(f"{folder}/kustomization.yaml", "w") as file:
            json.dump(top, file)
        return objects(kubectl("kustomize", folder))


def objects(text):
    """YAML as objects, which kubectl reads."""
    arguments = ["create", "--dry-run=client", "--validate=false", "--output=json", "-f", "-"]
    done = subprocess.run(
        ["kubectl", *arguments], input=text, capture_output=True, text=True, check=True
    )
    decoder, rest, found = json.JSONDecoder(), done.stdout.strip(), []
    while rest:
        one, end = decoder.raw_decode(rest)
        found += one.get("items", [one])
        rest = rest[end:].lstrip()
    return found


def compared(found):
    """By kind, namespace and name, without what is of the tool and not of the service."""
    named = {}
    for one in found:
        meta = one["metadata"]
        if one["kind"] == "Namespace":  # helm install --create-namespace
            continue
        meta["name"] = re.sub(r"^dqn-scaler-[a-z0-9]{10}$", "dqn-scaler", meta["name"])
        # Helm labels all, kustomize what is of the base.
        meta.pop("labels", None)
        if one["kind"] == "Deployment":
            template = one["spec"]["template"]
            for name in OF_HELM & set(template["metadata"]["labels"]):
                del template["metadata"]["labels"][name]
            # A changed configuration rolls it; kustomize gives the ConfigMap another name for that.
            annotations = template["metadata"].get("annotations", {})
            annotations.pop("checksum/config", None)
            if not annotations:
                template["metadata"].pop("annotations", None)
            container = template["spec"]["containers"][0]
            for named_list in [template["spec"].get("volumes"), container.get("volumeMounts")]:
                (named_list or []).sort(key=lambda entry: entry["name"])
            # Of an image with a version it is the default.
            if container.get("imagePullPolicy") == "IfNotPresent":
                del container["imagePullPolicy"]
            container["envFrom"] = [{"configMapRef": {"name": "dqn-scaler"}}]
        if one["kind"] == "MutatingAdmissionPolicy":
            # kustomize doubles a break in a folded text.
            one = json.loads(json.dumps(one).replace("\\n\\n", "\\n"))
        named[one["kind"], meta.get("namespace"), meta["name"]] = one
    return named


class Chart(ClusterTest):
    def test_it_is_what_kustomize_makes(self):
        self.maxDiff = None
        for overlay, components, values in SAME:
            if "born-right-sized" in components and self.cluster.minor < 36:
                continue  # it does not know the kind
            live = {"live": True} if overlay.endswith("-live") else {}
            wide = {"clusterWide": True} if overlay.startswith("cluster-wide") else {}
            ours = compared(rendered_by_helm(live | wide | values))
            theirs = compared(rendered_by_kustomize(overlay, components))
            self.assertEqual(sorted(map(str, ours)), sorted(map(str, theirs)), overlay)
            for key, one in theirs.items():
                self.assertEqual(ours[key], one, (overlay, components))

    def test_every_component_has_a_value(self):
        tried = {component for _, components, _ in SAME for component in components}
        of_overlays = {"live", "replicated"}
        self.assertEqual(set(os.listdir(f"{ROOT}/deploy/components")), tried | of_overlays)

    def test_its_values_are_checked(self):
        for values in SAME:
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                json.dump(values[2], file)
                file.flush()
                helm("lint", "--strict", CHART, f"--values={file.name}")
        for wrong in [
            {"lives": True},
            {"live": "yes"},
            {"namespaces": []},
            {"namespaces": ["Not_A_Name"]},
            {"config": {"DRY_RUN": False}},
            {"config": {"lower": 1}},
            {"replicated": True, "persistent": {"enabled": True}},
            {"networkPolicy": {"apiServerPorts": [0]}},
        ]:
            arguments = ["template", "a", CHART, "--values=-"]
            done = helm(*arguments, check=False, input=json.dumps(wrong))
            self.assertNotEqual(done.returncode, 0, wrong)

    def test_its_version_is_that_of_the_program(self):
        with open(f"{ROOT}/Cargo.toml") as cargo, open(f"{CHART}/Chart.yaml") as chart:
            version = re.search(r'(?m)^version = "(.*)"$', cargo.read())[1]
            told = chart.read()
        self.assertRegex(told, f"(?m)^version: {re.escape(version)}$")
        self.assertRegex(told, f"(?m)^appVersion: {re.escape(version)}$")

    @unittest.skipUnless(IMAGE, "no image of the service")
    def test_it_installs_scales_and_goes(self):
        repository, tag = IMAGE.rsplit(":", 1)
        host, port = os.environ["API"].split(":")
        values = {
            "image": {"repository": repository, "tag": tag},
            "live": True,
            "namespaces": [NAMESPACE],
            "config": {"AUTO_SCALE_INTERVAL": 2, "SCALING_COOLDOWN": 0, "STARTUP_PERIOD": 0},
            # This cluster has no proxy for the address of the API server's service.
            "env": [
                {"name": "KUBERNETES_SERVICE_HOST", "value": host},
                {"name": "KUBERNETES_SERVICE_PORT", "value": port},
            ],
        }
        name, namespace = "sized-dqn-scaler", "dqn-scaler-chart"
        of_release = (f"--namespace={namespace}", "--wait", "--timeout=90s")
        self.addCleanup(kubectl, "delete", "namespace", namespace, "--ignore-not-found")
        self.addCleanup(helm, "uninstall", "sized", *of_release[:2], check=False)
        install = ("upgrade", "--install", "sized", CHART, "--create-namespace", "--values=-")
        helm(*install, *of_release, input=json.dumps(values))
        self.run_pod("hungry", cpu=500, memory=20, **POD)
        until(
            60,
            "more CPU for a pod that uses all it may",
            lambda: self.cluster.limits("hungry")[0] >= 120,
            pause=1,
        )
        # Rights are for the namespace that was named, and no other.
        may = ("--subresource=resize", f"--as=system:serviceaccount:{namespace}:{name}")
        for where, expected in [(NAMESPACE, "yes"), ("default", "no")]:
            done = subprocess.run(
                ["kubectl", "auth", "can-i", "patch", "pods", *may, f"--namespace={where}"],
                capture_output=True,
                text=True,
            )
            self.assertEqual(done.stdout.strip(), expected, where)
        # A changed option is another pod.
        values["live"] = False
        helm(*install, *of_release, input=json.dumps(values))
        service = f"/api/v1/namespaces/{namespace}/services/{name}:http/proxy/config"
        until(
            30, "a dry run", lambda: json.loads(kubectl("get", "--raw", service))["dry_run"] is True
        )
        helm("uninstall", "sized", *of_release[:2])
        left = kubectl(
            "get",
            "clusterroles,clusterrolebindings,rolebindings,all",
            "--all-namespaces",
            f"--selector=app.kubernetes.io/name={name}",
            "--output=name",
        )
        left = [one for one in left.split() if not one.startswith("pod/")]
        self.assertEqual(left, [])
