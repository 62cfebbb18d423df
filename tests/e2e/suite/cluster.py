"""The cluster as its administrator sees it, by way of `kubectl proxy`: whatever the kubeconfig asks
for, here it is plain HTTP."""

import atexit
import http.client
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request

IMAGE = os.environ.get("E2E_IMAGE", "e2e.local/load:1")
NAMESPACE = os.environ["NAMESPACE"]


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


def until(seconds, what, condition, pause=0.2):
    """What the condition gives once it is true. An answer that fails counts as not yet."""
    end, last = time.monotonic() + seconds, None
    while True:
        try:
            found = condition()
            if found:
                return found
        except (Refused, OSError, KeyError, http.client.HTTPException) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}" + (f" ({last})" if last else ""))
        time.sleep(pause)


def process_of(what):
    """The number of one of the processes that the cluster consists of."""
    with open(os.path.join(os.environ["DIR"], "pids", what)) as file:
        return int(file.read().split()[0])


def child(*arguments, **options):
    """A process that does not outlive this one, whatever ends it short of SIGKILL."""
    process = subprocess.Popen(*arguments, **options)
    atexit.register(process.kill)
    return process


def http_json(method, url, body=None, content_type="application/json", headers=None, timeout=60):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, method=method, data=data, headers={"Content-Type": content_type, **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        text = error.read()
        try:
            return error.code, json.loads(text)
        except ValueError:
            return error.code, {"message": text.decode(errors="replace")}


class Cluster:
    def __init__(self):
        self.process = child(
            ["kubectl", "proxy", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.url = "http://" + re.search(r"[\d.]+:\d+", self.process.stdout.readline()).group()
        self.minor = self.minor_version()

    def close(self):
        self.process.terminate()
        self.process.wait()

    def call(self, method, path, body=None, content_type="application/json"):
        code, answer = http_json(method, self.url + path, body, content_type)
        if code >= 300:
            raise Refused(code, answer.get("message"))
        return answer

    def minor_version(self):
        """The 36 of Kubernetes 1.36: what may be resized in place, and who says so, differs."""
        return int(re.match(r"\d+", self.get("/version")["minor"]).group())

    @property
    def too_small(self):
        """What is said of the node where a pod can never fit: by the API server, or the kubelet."""
        return "enough allocatable resources" if self.minor >= 36 else "enough capacity"

    def get(self, path):
        return self.call("GET", path)

    def patch(self, path, body):
        return self.call("PATCH", path, body, "application/strategic-merge-patch+json")

    def path(self, kind, name="", namespace=NAMESPACE):
        apps = kind in ("deployments", "statefulsets", "daemonsets", "replicasets")
        group = "apis/apps/v1" if apps else "api/v1"
        return f"/{group}/namespaces/{namespace}/{kind}" + (f"/{name}" if name else "")

    def create(self, kind, manifest):
        return self.call("POST", self.path(kind), manifest)

    def delete(self, kind, name):
        try:
            self.call("DELETE", self.path(kind, name) + "?propagationPolicy=Background")
        except Refused as error:
            if error.code != 404:
                raise

    def pod(self, name):
        return self.get(self.path("pods", name))

    def pods_of(self, app):
        """The pods with this label that are not on their way out."""
        items = self.get(self.path("pods") + f"?labelSelector=app={app}")["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def free_millicores(self, node):
        """What the pods on the node have left of it."""
        query = f"fieldSelector=spec.nodeName={node},status.phase=Running"
        asked = [
            c["resources"].get("requests", {}).get("cpu", "0")
            for pod in self.get(f"/api/v1/pods?{query}")["items"]
            for c in pod["spec"]["containers"]
        ]
        allocatable = self.get(f"/api/v1/nodes/{node}")["status"]["allocatable"]["cpu"]
        return millicores(allocatable) - sum(map(millicores, asked))

    def run(self, name, **spec):
        """A pod of one container `app`, once it answers."""
        self.create("pods", pod(name, **spec))
        self.answers(name)
        return self.pod(name)

    def gone(self, kind, name):
        def missing():
            try:
                self.get(self.path(kind, name))
            except Refused as error:
                return error.code == 404

        until(60, f"{kind} {name} gone", missing)

    def answers(self, name, port=8080):
        until(60, f"pod {name} answers", lambda: self.limits(name, port), pause=0.5)

    def load(self, name, **amounts):
        """Makes the pod burn `cpu` millicores and hold `memory` MiB."""
        query = "&".join(f"{key}={value}" for key, value in amounts.items())
        self.get(f"{self.path('pods', name)}:8080/proxy/?{query}")

    def limits(self, name, port=8080):
        """Millicores and bytes that the container's cgroup allows: the kernel's own word."""
        path = f"{self.path('pods', name)}:{port}/proxy/limits"
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return tuple(int(number) for number in answer.read().split())


def resources(request=None, limit=None):
    """("100m", "64Mi") each, as a pod's spec has it."""
    named = lambda pair: {name: amount for name, amount in zip(("cpu", "memory"), pair) if amount}
    return {name: named(pair) for name, pair in (("requests", request), ("limits", limit)) if pair}


def millicores(quantity):
    return int(quantity[:-1]) if quantity.endswith("m") else int(float(quantity) * 1000)


def container(name="app", request=None, limit=None, cpu=0, memory=0, port=8080, **more):
    env = {"CPU": cpu, "MEMORY": memory, "PORT": port}
    return {
        "name": name,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "resources": resources(request, limit),
        "env": [{"name": key, "value": str(value)} for key, value in env.items()],
        **more,
    }


def pod(
    name,
    labels=None,
    init=(),
    request=("100m", "64Mi"),
    limit=("200m", "128Mi"),
    also=(),
    node=None,
    **more,
):
    containers = [container(request=request, limit=limit, **more), *also]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name, **(labels or {})}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "initContainers": list(init),
            "containers": containers,
        },
    }


def workload(kind, name, replicas=1, **spec):
    template = pod(name, **spec)
    template["spec"].pop("terminationGracePeriodSeconds")
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {**template["spec"], "terminationGracePeriodSeconds": 1},
    }
    more = {} if kind == "DaemonSet" else {"replicas": replicas}
    if kind == "StatefulSet":
        more["serviceName"] = name
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, **more},
    }


def status_of(pod, container="app"):
    statuses = [
        status
        for kind in ("containerStatuses", "initContainerStatuses")
        for status in pod["status"].get(kind, [])
    ]
    return {status["name"]: status for status in statuses}[container]


def resize_conditions(pod):
    found = {}
    for condition in pod["status"].get("conditions", []):
        if condition["type"].startswith("PodResize") and condition["status"] == "True":
            found[condition["type"]] = condition.get("reason", "")
    return found
