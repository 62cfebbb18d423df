"""Two replicas as processes of their own on one API server: pauses, kills, partitions. Never do two
act at once."""

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time

import pytest
import requests

from conftest import free_port, until

ELECTION = {
    "LEADER_ELECT": "true",
    "LEASE_NAMESPACE": "default",
    "LEASE_DURATION": "3",
    "RENEW_DEADLINE": "2",
    "RETRY_PERIOD": "0.3",
}
POD = "debug-shell"


class Wire(threading.Thread):
    """A TCP proxy that can hold everything back, in both directions, and deliver it later."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.target, self.cut, self.pairs = ("127.0.0.1", port), False, {}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            if self.cut:
                time.sleep(0.02)
                continue
            ready, _, _ = select.select([self.listener, *self.pairs], [], [], 0.05)
            for end in ready if not self.cut else []:
                if end is self.listener:
                    client = end.accept()[0]
                    try:
                        server = socket.create_connection(self.target)
                    except OSError:
                        client.close()
                        continue
                    self.pairs |= {client: server, server: client}
                    continue
                other = self.pairs.get(end)
                if other is None:
                    continue
                try:
                    data = end.recv(1 << 16)
                    other.sendall(data)
                except OSError:
                    data = b""
                if not data:
                    for gone in (end, other):
                        self.pairs.pop(gone, None)
                        gone.close()


class Cluster:
    """The simulated API server in a process of its own, and what it was asked."""

    def __init__(self, start):
        self.port = free_port()
        start(
            "--simulate", "--simulate-listen", f"127.0.0.1:{self.port}", AUTO_SCALE_ENABLED="false"
        )
        self.url = f"http://127.0.0.1:{self.port}"

    def look(self):
        """The successful writes of leases and resizes so far, with who sent them."""
        log = requests.get(f"{self.url}/sim/requests", timeout=10).json()
        assert len(log) < 2000, "the log has forgotten its beginning"
        writes = [
            entry
            for entry in log
            if entry["method"] in ("PUT", "POST", "PATCH") and 200 <= (entry["status"] or 500) < 300
        ]
        return [
            (entry["path"], entry["userAgent"])
            for entry in writes
            if "/leases" in entry["path"] or "/resize" in entry["path"]
        ]

    def check(self):
        """Every resize is of whoever wrote the lease last; how many each sent."""
        holder, counts = None, {}
        for path, agent in self.look():
            if "/leases" in path:
                holder = agent
            else:
                assert agent == holder, f"{agent} resized while {holder} led"
                counts[agent] = counts.get(agent, 0) + 1
        return counts


@pytest.fixture
def cluster(start):
    return Cluster(start)


def replica(start, tmp_path, name, port):
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    kubeconfig = tmp_path / f"{name}.kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    return start(
        KUBECONFIG=str(kubeconfig),
        POD_NAME=name,
        DRY_RUN="false",
        AUTO_SCALE_ENABLED="false",
        RESIZE_TIMEOUT="1",
        **ELECTION,
    )


def role(service):
    return service.get("/readyz").json()["role"]


class Hammer(threading.Thread):
    """Asks both replicas for resizes, all the time."""

    def __init__(self, services):
        super().__init__()
        self.services, self.ended = services, False
        self.start()

    def run(self):
        turn = 0
        while not self.ended:
            for service in self.services:
                turn += 1
                body = {"containers": {POD: {"limits": {"cpu": f"{300 + turn % 200}m"}}}}
                with contextlib.suppress(requests.RequestException):
                    requests.post(
                        f"{service.url}/api/namespaces/default/pods/{POD}/resize",
                        params={"enable_horizontal_fallback": "false"},
                        json=body,
                        timeout=0.5,
                    )
            time.sleep(0.02)


def two(start, tmp_path, port_one, port_two):
    one = replica(start, tmp_path, "one", port_one)
    until(lambda: role(one) == "leader", what="the first leads")
    second = replica(start, tmp_path, "two", port_two)
    until(lambda: role(second) == "follower", what="the second follows")
    return one, second


@pytest.mark.parametrize("how", ["paused", "killed", "ended", "partitioned"])
def test_one_takes_over_and_two_never_act_at_once(start, tmp_path, cluster, how):
    wire = Wire(cluster.port)
    one, second = two(start, tmp_path, wire.port, cluster.port)
    hammer = Hammer([one, second])
    try:
        until(lambda: cluster.check(), what="a resize by the first")
        if how == "paused":
            os.kill(one.process.pid, signal.SIGSTOP)
        elif how == "killed":
            one.stop(signal.SIGKILL)
        elif how == "ended":
            assert one.stop() == 0
        else:
            wire.cut = True
        began = time.monotonic()
        until(lambda: role(second) == "leader", what="the second leads")
        if how == "ended":
            assert time.monotonic() - began < 2, "the lease was given back"
        until(lambda: len(cluster.check()) == 2, what="a resize by the second")
        if how == "paused":
            os.kill(one.process.pid, signal.SIGCONT)
        wire.cut = False
        time.sleep(1.5)
        if how in ("paused", "partitioned"):
            until(lambda: role(one) == "follower", what="the first follows")
    finally:
        hammer.ended = True
        if how == "paused":
            os.kill(one.process.pid, signal.SIGCONT)
    hammer.join()
    time.sleep(1.2)  # what is under way ends
    assert len(cluster.check()) == 2
    assert role(second) == "leader"
