#!/usr/bin/env python3
"""Both on one API server at the same time, with pods that no kubelet runs: what each takes of
memory, CPU and requests, and how long its loop is. run.sh starts it."""

import argparse
import collections
import concurrent.futures
import json
import os
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.environ["ROOT"], "tests", "e2e", "suite"))

from usage import Usage

import audit
from cluster import Cluster, child, until, workload
from scaler import Scaler, free_port, kubectl, service_account_kubeconfig

REPLICAS = 10
PODS_PER_NAMESPACE = 1000
PODS_PER_NODE = 50
INTERVAL = 60  # the recommender's default, and here the service's
USER = "system:serviceaccount:dqn-scaler:"


def fill(cluster, pods):
    """Nodes, and Deployments with their pods and a VerticalPodAutoscaler each, as the controllers
    would have made them; the pods by namespace, name and labels."""
    for index in range(-(-pods // PODS_PER_NODE)):
        capacity = {"cpu": "64", "memory": "256Gi", "pods": "250"}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        status = {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}
        node = {"metadata": {"name": f"fake-{index}"}, "status": status}
        cluster.call("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", **node})
    namespaces = [f"team-{index}" for index in range(-(-pods // PODS_PER_NAMESPACE))]
    for namespace in namespaces:
        cluster.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        path = cluster.path("serviceaccounts", namespace=namespace)
        cluster.call("POST", path, {"metadata": {"name": "default"}})
    apps = [
        (namespaces[number * REPLICAS // PODS_PER_NAMESPACE], f"app-{number}", number)
        for number in range(-(-pods // REPLICAS))
    ]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda app: deploy(cluster, *app), apps)
        return namespaces, [pod for pods in made for pod in pods]


def owner(object):
    kind, name, uid = object["kind"], object["metadata"]["name"], object["metadata"]["uid"]
    return [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": True}]


def deploy(cluster, namespace, name, number):
    limits = {"request": ("250m", "256Mi"), "limit": ("500m", "512Mi")}
    manifest = workload("Deployment", name, replicas=REPLICAS, **limits)
    template = manifest["spec"]["template"]
    template["spec"].pop("nodeName")

    def create(kind, body):
        return cluster.call("POST", cluster.path(kind, namespace=namespace), body)

    deployment = create("deployments", manifest)
    labels = {**template["metadata"]["labels"], "pod-template-hash": "0"}
    template = {"metadata": {"labels": labels}, "spec": template["spec"]}
    metadata = {"name": f"{name}-0", "labels": labels, "ownerReferences": owner(deployment)}
    spec = {"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": template}
    set_ = create("replicasets", {"metadata": metadata, "spec": spec})
    pods = []
    for index in range(REPLICAS):
        pod = f"{name}-0-{index}"
        metadata = {"name": pod, "labels": labels, "ownerReferences": owner(set_)}
        node = f"fake-{(number * REPLICAS + index) // PODS_PER_NODE}"
        create("pods", {"metadata": metadata, "spec": {**template["spec"], "nodeName": node}})
        path = cluster.path("pods", pod, namespace)
        cluster.patch(f"{path}/status", {"status": running(template["spec"])})
        pods.append((namespace, pod, labels))
    cluster.call(
        "POST",
        f"/apis/autoscaling.k8s.io/v1/namespaces/{namespace}/verticalpodautoscalers",
        {
            "apiVersion": "autoscaling.k8s.io/v1",
            "kind": "VerticalPodAutoscaler",
            "metadata": {"name": name},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "updatePolicy": {"updateMode": "Off"},
            },
        },
    )
    return pods


def running(spec):
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    statuses = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "containerID": "containerd://0",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": started}},
            "resources": container["resources"],
            "allocatedResources": container["resources"]["requests"],
        }
        for container in spec["containers"]
    ]
    return {
        "phase": "Running",
        "startTime": started,
        "conditions": [{"type": kind, "status": "True"} for kind in kinds],
        "containerStatuses": statuses,
    }


class Process:
    """What a process takes, its loop by its own metrics, and its requests by the audit log."""

    def __init__(self, name, process, account, url, loop):
        self.name, self.process, self.account = name, process, account
        self.url, self.loop = url, loop

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        return int(fields["VmHWM"].split()[0]) / 1024

    def loops(self):
        """Seconds of all of its loops, and how many."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        name, _, labels = self.loop.partition("{")
        found = [0.0, 0.0]
        for place, part in enumerate(("_sum", "_count")):
            for line in lines:
                if line.startswith(name + part) and labels.rstrip("}") in line:
                    found[place] = float(line.rsplit(" ", 1)[1])
        return found

    def begin(self):
        self.before = (time.monotonic(), self.cpu(), self.loops())

    def measured(self, since):
        began, cpu, (spent, loops) = self.before
        seconds, (now_spent, now_loops) = time.monotonic() - began, self.loops()
        events = audit.events(since)
        asked = (event for event in events if event["user"]["username"] == USER + self.account)
        self.requests = collections.Counter((e["verb"], *audit.resource_of(e)) for e in asked)
        writes = sum(n for request, n in self.requests.items() if request[0] in audit.WRITES)
        count = max(now_loops - loops, 1)
        return {
            "peak RSS MiB": self.rss(),
            "CPU s a minute": 60 * (self.cpu() - cpu) / seconds,
            "requests a second": self.requests.total() / seconds,
            "of them writes": writes / seconds,
            "a loop s": (now_spent - spent) / count,
            "loops": now_loops - loops,
        }


def recommender(folder):
    """It has the rights of an administrator and a name of its own in the audit log."""
    account = "vpa-recommender"
    kubectl("create", "serviceaccount", account, "--namespace=dqn-scaler")
    role = ("--clusterrole=cluster-admin", f"--serviceaccount=dqn-scaler:{account}")
    kubectl("create", "clusterrolebinding", account, *role)
    path, port = os.path.join(folder, "recommender.kubeconfig"), free_port()
    with open(path, "w") as file:
        json.dump(service_account_kubeconfig(account=account), file)
    with open(os.path.join(os.environ["E2E_LOGS"], "recommender.log"), "w") as log:
        address = f"127.0.0.1:{port}"
        flags = [f"--kubeconfig={path}", f"--address={address}", "--v=1"]
        process = child([os.environ["RECOMMENDER"], *flags], stdout=log, stderr=log)
    return Process(
        "recommender of VPA",
        process,
        account,
        f"http://{address}",
        'vpa_recommender_execution_latency_seconds{step="total"}',
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=6)
    arguments = parser.parse_args()
    cluster = Cluster()
    began = time.monotonic()
    namespaces, pods = fill(cluster, arguments.pods)
    print(f"peer: {len(pods)} pods after {time.monotonic() - began:.0f} s", flush=True)
    Usage(pods)
    until(60, "metrics.k8s.io", lambda: cluster.get("/apis/metrics.k8s.io/v1beta1/pods")["items"])
    settings = {
        "namespaces": ",".join(namespaces),
        "auto_scale_enabled": True,
        "auto_scale_interval": INTERVAL,
        "dry_run": True,
        "rust_log": "warn",
    }
    with Scaler("peer", **settings) as scaler:
        loop = "dqn_scaler_cycle_duration_seconds"
        ours = Process("dqn-scaler", scaler.process, "dqn-scaler", scaler.url, loop)
        both = [ours, recommender(os.environ["DIR"])]
        for process in both:
            until(300, f"a loop of {process.name}", lambda: process.loops()[1] >= 1, pause=1)
        since = audit.now()
        for process in both:
            process.begin()
        time.sleep(60 * arguments.minutes)
        report(len(pods), *(process.measured(since) for process in both))
        for process in both:
            most = process.requests.most_common(5)
            told = ", ".join(f"{n} {' '.join(filter(None, request))}" for request, n in most)
            print(f"\n{process.name} asked most for: {told}.")
    known = cluster.get("/apis/autoscaling.k8s.io/v1/verticalpodautoscalers")["items"]
    told = sum("recommendation" in item.get("status", {}) for item in known)
    print(f"\nThe recommender tells of {told} of {len(known)} workloads.")


def report(pods, ours, theirs):
    with open("/proc/loadavg") as file:
        load = file.read().split()[0]
    print(f"\n{pods} pods; load average {load}\n")
    print("| | dqn-scaler | recommender of VPA 1.8.1 | ratio |\n|---|---:|---:|---:|")
    for what, own in ours.items():
        other = theirs[what]
        ratio = f"{own / other:.2f}" if other else ""
        print(f"| {what} | {own:.2f} | {other:.2f} | {ratio} |")


if __name__ == "__main__":
    main()
