#!/usr/bin/env python3
"""A cluster that never rests, clients that mean ill, and an API server with faults, all in small
doses and for as long as is asked for: what the service holds must have an end.

    make soak              five minutes
    make soak HOURS=8      or longer
    tests/soak/soak.py --minutes 30 --embedded

The simulated cluster is in a process of its own, so that what it remembers (10,000 changes of each
kind, some 100 MiB) is not taken for the service's; embedded, it lives 600 times as fast, and so
does the service.

Once a second it is sampled what the service holds: resident memory, descriptors, threads, the
series of its metrics, the size of its state; and how long /livez and /health take. The first third
of the time is for getting warm. Of what is left, the median of the second half may be above that
of the first by no more than GROWTH of it and a small amount (see BOUNDS): what grows without end
fails the run. So do a probe that fails, a service that ends, and descriptors or threads that stay
when all is over.
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMESPACES = ["default", "shop", "data", "monitoring"]
GROWTH = 0.08
# What may come on top of that: MiB, pieces, threads, series, MiB.
BOUNDS = {"memory": 6, "descriptors": 12, "threads": 4, "series": 30, "store": 1}
# And stay when all is over: tokio keeps threads for blocking work that is done now and then.
STAY = {"descriptors": 8, "threads": 24}
PROBE = 2.0  # the longest that a probe may take


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(port, method, path, body=None, kind="application/json", seconds=30):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        headers = {"Content-Type": kind} if body is not None else {}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Process:
    """The service, or a simulated cluster by itself."""

    def __init__(self, log, *arguments, **environment):
        self.port = free_port()
        command = [os.environ["DQN_SCALER"], "--host", "127.0.0.1", "--port", str(self.port)]
        known = ("PATH", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX")
        known = {name: os.environ[name] for name in known if name in os.environ}
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [*command, *arguments],
                cwd=ROOT,
                env={**known, "RUST_LOG": "warn", **environment},
                stdout=output,
                stderr=output,
            )

    def ready(self):
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if ask(self.port, "GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        sys.exit("soak: the service was never ready")

    def status(self, name):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(next(line for line in status if line.startswith(name)).split()[1])

    def memory(self):
        return self.status("VmRSS") / 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self):
        self.process.terminate()
        return self.process.wait(timeout=60)


class Doses:
    """Each attack goes its way until all is over, at a pace of its own."""

    def __init__(self, service, api, warm):
        self.service, self.api, self.warm = service.port, api, warm
        self.over = threading.Event()
        self.counts = {}
        self.random = random.Random(7)
        self.threads = [
            threading.Thread(target=self.repeat, args=(dose, pause), daemon=True)
            for dose, pause in (
                (self.churn, 1.0),
                (self.look, 0.02),
                (self.look, 0.02),
                (self.decide, 1.0),
                (self.configure, 4.0),
                (self.spoil, 3.0),
                (self.resize, 0.5),
                (self.silent, 0.3),
                (self.unread, 0.5),
                (self.bodies, 0.5),
                (self.paths, 0.3),
            )
        ]

    def repeat(self, dose, pause):
        name = dose.__name__
        while not self.over.wait(self.hurried(dose, pause)):
            try:
                dose()
                self.counts[name] = self.counts.get(name, 0) + 1
            except (OSError, http.client.HTTPException, LookupError, ValueError):
                # It was refused, cut off, or struck by a fault, as it may be.
                self.counts[name + " refused"] = self.counts.get(name + " refused", 0) + 1

    def hurried(self, dose, pause):
        """The simulated cluster remembers 10,000 changes of each kind: that is to be full soon."""
        return pause / 200 if dose == self.churn and time.monotonic() < self.warm else pause

    def pods(self):
        namespace = self.random.choice(NAMESPACES)
        _, body = ask(self.api, "GET", f"/api/v1/namespaces/{namespace}/pods")
        names = [pod["metadata"]["name"] for pod in json.loads(body)["items"]]
        return namespace, self.random.choice(names) if names else "nobody"

    def churn(self):
        namespace, name = self.pods()
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        body = json.dumps({"gracePeriodSeconds": 0})
        ask(self.api, "DELETE", path, body)

    def look(self):
        namespace, name = self.pods() if self.random.random() < 0.1 else ("default", "nobody")
        paths = ["/pods", "/pods/overview", "/decisions?limit=500", "/metrics", "/statistics"]
        paths += ["/model/card", "/readyz", "/openapi.json", "/dashboard", "/config"]
        paths += [f"/pods/{namespace}/{name}", f"/pods/{namespace}/{name}/history"] * 4
        paths += [f"/pods/elsewhere-{self.random.randrange(1000)}/{name}"]
        ask(self.service, "GET", self.random.choice(paths))

    def decide(self):
        ask(self.service, "POST", "/scale/all", "{}", seconds=60)

    def configure(self):
        more = [f"team-{number}" for number in range(self.random.choice([0, 0, 3, 40]))]
        change = {"namespaces": NAMESPACES + more, "scale_factor": self.random.uniform(0.1, 0.4)}
        ask(self.service, "POST", "/config", json.dumps(change))
        ask(self.service, "POST", "/config", json.dumps({"namespaces": ["n"] * 100_000}))

    def spoil(self):
        effects = [
            {"verb": "watch", "effect": {"cut": {"milliseconds": 0}}},
            {"verb": "watch", "effect": {"gone": {}}},
            {"verb": "list", "effect": {"status": {"code": 500}}},
            {"verb": "get", "effect": {"delay": {"milliseconds": 300}}},
            {"verb": "patch", "effect": {"status": {"code": 429, "retryAfter": 4000000000}}},
            {"group": "metrics.k8s.io", "effect": {"status": {"code": 503}}},
        ]
        rule = {**self.random.choice(effects), "count": self.random.randrange(1, 20)}
        ask(self.api, "PUT", "/sim/faults", json.dumps([rule]))
        # A watch has to begin anew to be struck.
        if "watch" in rule.values() and self.random.random() < 0.3:
            ask(self.service, "POST", "/config", json.dumps({"namespaces": NAMESPACES[:3]}))

    def resize(self):
        namespace, name = self.pods()
        amount = self.random.choice(["90000E", "-1", "1e30", "600Mi", "1Gi"])
        wanted = {"containers": {"app": {"limits": {"memory": amount}}}}
        path = f"/api/namespaces/{namespace}/pods/{name}/resize"
        ask(self.service, "POST", path, json.dumps(wanted), seconds=60)

    def held(self, *pieces):
        """Connections that are left as they are for a while."""
        sockets = []
        for piece in pieces:
            held = socket.create_connection(("127.0.0.1", self.service), timeout=5)
            held.sendall(piece)
            sockets.append(held)
        self.over.wait(self.random.uniform(0.5, 3))
        for held in sockets:
            held.close()

    def silent(self):
        begun = b"GET /pods HTTP/1.1\r\nHost: x\r\n"
        self.held(b"", b"", begun, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01")

    def unread(self):
        large = b"GET /decisions?limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n"
        self.held(large * 20, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50)

    def bodies(self):
        ask(self.service, "POST", "/config", b" " * (900 << 10))
        begun = b"POST /config HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n"
        self.held(begun + b" " * 400_000)

    def paths(self):
        ask(self.service, "GET", "/pods/default/" + "x" * 50_000)


def sample(service, store):
    timings = {}
    for path in ("/livez", "/health"):
        began = time.monotonic()
        code, _ = ask(service.port, "GET", path, seconds=15)
        timings[path] = time.monotonic() - began
        if code != 200:
            raise OSError(f"{path} answered {code}")
    _, text = ask(service.port, "GET", "/metrics")
    series = sum(1 for line in text.decode().splitlines() if line and not line.startswith("#"))
    return {
        "memory": service.memory(),
        "descriptors": service.descriptors(),
        "threads": service.status("Threads"),
        "series": series,
        "store": store.stat().st_size / (1 << 20) if store.exists() else 0,
        **timings,
    }


def judge(samples):
    """The faults, and a line for each thing that was sampled."""
    third = len(samples) // 3
    middle = third + (len(samples) - third) // 2
    faults = []
    print(f"{'':12} {'start':>8} {'warm':>8} {'before':>8} {'after':>8} {'most':>8}  may be")
    for name, bound in BOUNDS.items():
        values = [one[name] for one in samples]
        before = statistics.median(values[third:middle])
        after = statistics.median(values[middle:])
        allowed = before * (1 + GROWTH) + bound
        shown = (values[0], values[third], before, after, max(values), allowed)
        print(f"{name:12} " + " ".join(f"{value:8.1f}" for value in shown))
        if after > allowed:
            faults.append(f"{name} grew from {before:.1f} to {after:.1f} when all was warm")
    for path in ("/livez", "/health"):
        times = sorted(one[path] for one in samples)
        late = times[min(len(times) - 1, int(len(times) * 0.99))]
        print(f"{path:12} p50 {times[len(times) // 2] * 1000:.0f} ms, p99 {late * 1000:.0f} ms")
        if late > PROBE:
            faults.append(f"{path} took {late:.1f} s")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--embedded", action="store_true", help="the cluster in the same process")
    parser.add_argument("--quiet", action="store_true", help="churn, and no attacks")
    arguments = parser.parse_args()

    folder = pathlib.Path(tempfile.mkdtemp(prefix="soak-"))
    settings = {
        "DRY_RUN": "false",
        "NAMESPACES": ",".join(NAMESPACES),
        "AUTO_SCALE_INTERVAL": "60" if arguments.embedded else "1",
        "SCALING_COOLDOWN": "0",
    }
    api = free_port()
    simulated = ["--simulate", "--speed", "600" if arguments.embedded else "1"]
    simulated += ["--simulate-listen", f"127.0.0.1:{api}"]
    cluster = None
    if not arguments.embedded:
        cluster = Process(folder / "cluster.log", *simulated, AUTO_SCALE_ENABLED="false")
        cluster.ready()
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "soak",
            "clusters": [{"name": "soak", "cluster": {"server": f"http://127.0.0.1:{api}"}}],
            "contexts": [{"name": "soak", "context": {"cluster": "soak", "user": "soak"}}],
            "users": [{"name": "soak", "user": {}}],
        }
        (folder / "kubeconfig").write_text(json.dumps(kubeconfig))
        settings |= {"IN_CLUSTER": "false", "KUBECONFIG": str(folder / "kubeconfig")}
        simulated = []
    data = ["--data-dir", str(folder / "data")]
    service = Process(folder / "service.log", *simulated, *data, **settings)
    service.ready()
    rest = {"descriptors": service.descriptors(), "threads": service.status("Threads")}

    warm = time.monotonic() + (arguments.minutes * 20 if arguments.embedded else 0)
    doses = Doses(service, api, warm)
    for thread in doses.threads[: 1 if arguments.quiet else None]:
        thread.start()
    samples, faults = [], []
    began, end = time.monotonic(), time.monotonic() + arguments.minutes * 60
    told = 0
    while time.monotonic() < end and service.process.poll() is None:
        try:
            samples.append(sample(service, folder / "data" / "state.redb"))
            if cluster:
                samples[-1]["cluster"] = cluster.memory()
        except OSError as error:
            faults.append(f"after {time.monotonic() - began:.0f} s: a probe failed: {error}")
        if time.monotonic() - began >= told:
            now = samples[-1] if samples else {}
            told += max(30, arguments.minutes * 60 / 20)
            words = [f"{name} {value:.1f}" for name, value in now.items() if name[0] != "/"]
            print(f"{time.monotonic() - began:6.0f} s  " + ", ".join(words), flush=True)
        time.sleep(1)
    doses.over.set()
    if service.process.poll() is not None:
        sys.exit(f"soak: the service ended by itself: {folder}/service.log")
    # Each namespace takes connections: as many as at the beginning.
    ask(doses.service, "POST", "/config", json.dumps({"namespaces": NAMESPACES}))
    time.sleep(20)
    last = {"descriptors": service.descriptors(), "threads": service.status("Threads")}
    faults += judge(samples)
    if cluster:
        of_cluster = [one["cluster"] for one in samples if "cluster" in one]
        third = len(of_cluster) // 3
        print(f"cluster      {of_cluster[0]:8.1f} {of_cluster[third]:8.1f} {of_cluster[-1]:17.1f}")
    print("doses: " + ", ".join(f"{name} {count}" for name, count in sorted(doses.counts.items())))
    print(f"at rest: before {rest}, after {last}")
    for name, count in last.items():
        if count > rest[name] + STAY[name]:
            faults.append(f"{count - rest[name]} {name} stayed when all was over")
    log = (folder / "service.log").stat().st_size / (1 << 20)
    print(f"log: {log:.1f} MiB, {folder}")
    if log > 1 + 2 * arguments.minutes:
        faults.append(f"the log has {log:.1f} MiB")
    if service.end() != 0:
        faults.append("the service did not stop as it should")
    if cluster:
        cluster.end()
    for fault in faults:
        print(f"soak: FAILED: {fault}")
    print("soak: " + ("failed" if faults else "nothing grew"))
    sys.exit(1 if faults else 0)


main()
