#!/usr/bin/env python3
"""run.py [--seconds N] [--only NAME,…] [--write FILE] [--before FILE]: attacks a service of its own
on 127.0.0.1, one attack after the other, and prints what each cost and how probes fared meanwhile.

DQN_SCALER names another binary than target/release/dqn-scaler. `--write` keeps the figures,
`--before` shows those of another run beside them."""

import argparse
import json
import multiprocessing
import os
import pathlib
import re
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import time

import attacks

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(
    os.environ.get("DQN_SCALER")
    or pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "release/dqn-scaler")
)
LIBRARIES = pathlib.Path(os.environ.get("LIBTORCH", ROOT / ".libtorch"), "lib")
MIB = 1024 * 1024
# As kubelets do by default.
PATIENCE = 1
PROBED = ("/livez", "/health")


class Attack:
    def __init__(self, what, attack, descriptors=1024, tls=False, fill=0, **environment):
        self.what, self.attack, self.descriptors = what, attack, descriptors
        self.tls, self.fill, self.environment = tls, fill, environment


ATTACKS = {
    "none": Attack("nothing, for comparison", lambda _, seconds: time.sleep(seconds) or []),
    "silent": Attack("1,200 connections that say nothing", attacks.silent),
    "slow-heads": Attack("1,200 heads, a byte a second", attacks.slow_heads),
    "idle": Attack("9,500 idle connections", attacks.idle, descriptors=20_000),
    "storm": Attack("1,200 silent, then connects as fast as it goes", attacks.storm),
    "handshakes": Attack("1,200 TLS handshakes that do not go on", attacks.handshakes, tls=True),
    "slow-bodies": Attack("300 bodies, 100 bytes a second", attacks.slow_bodies),
    "almost-bodies": Attack("250 bodies of 1 MiB but for a byte", attacks.almost_bodies),
    "large-bodies": Attack("40 clients post 1 MiB of lists", attacks.large_bodies),
    "refused-bodies": Attack("the same, READ_ONLY", attacks.large_bodies, READ_ONLY="true"),
    "streams": Attack("200 HTTP/2 streams with bodies", attacks.streams),
    "unread": Attack("600 clients take no answer", attacks.unread),
    "unread-pages": Attack("300 take no script of 1.4 MB", attacks.unread_pages),
    "decisions": Attack(
        "5 ask for all decisions in detail",
        attacks.repeated("/decisions?limit=100000000&details=true", 5),
        fill=40_000,
        DECISIONS_KEPT="1000000",
    ),
    "model-card": Attack("12 ask for the model card", attacks.repeated("/model/card", 12)),
    "overview": Attack("50 ask for the overview", attacks.repeated("/pods/overview", 50)),
    "long-paths": Attack(
        "2,000 refused writes, paths of 60 KB", attacks.long_paths(60_000), READ_ONLY="true"
    ),
    "longish-paths": Attack(
        "2,000 refused writes, paths of 20 KB", attacks.long_paths(20_000), READ_ONLY="true"
    ),
}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Service:
    def __init__(self, attack, folder):
        self.port, self.log = free_port(), folder / "log"
        variables = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        variables |= {"LD_LIBRARY_PATH": str(LIBRARIES)}
        variables |= attack.environment
        if attack.tls:
            certificate = [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-subj",
                "/CN=localhost",
                "-keyout",
                folder / "key",
                "-out",
                folder / "certificate",
            ]
            subprocess.run(certificate, check=True, capture_output=True)
            variables |= {"TLS_CERT": str(folder / "certificate"), "TLS_KEY": str(folder / "key")}
        limit = (attack.descriptors, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [
                    BINARY.absolute(),
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(self.port),
                    "--simulate",
                    "--speed",
                    "60",
                ],
                cwd=ROOT,
                env=variables,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
            )
        self.tls = attack.tls
        for _ in range(300):
            if probe(self.port, "/livez", self.tls) is not None:
                return
            time.sleep(0.1)
        sys.exit(f"the service does not answer: {self.log.read_text()}")

    def status(self, name):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def fill(self, decisions):
        """Decides on all pods until so many decisions are kept."""
        while decisions > 0:
            answer = ask(self.port, "POST", "/scale/all", 30)
            decisions -= answer.count(b'"pod_name"')

    def end(self):
        self.process.kill()
        self.process.wait()


def ask(port, method, path, patience, tls=False):
    connection = socket.create_connection(("127.0.0.1", port), timeout=patience)
    if tls:
        context = ssl._create_unverified_context()
        connection = context.wrap_socket(connection, server_hostname="localhost")
    with connection:
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def probe(port, path, tls):
    """The seconds that a probe took, or None if it failed."""
    begun = time.monotonic()
    try:
        answered = ask(port, "GET", path, PATIENCE, tls).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return None
    took = time.monotonic() - begun
    return took if answered and took <= PATIENCE else None


def probing(port, tls, stop, results):
    found = {path: [] for path in PROBED}
    while not stop.is_set():
        for path in PROBED:
            found[path].append(probe(port, path, tls))
        time.sleep(0.05)
    results.put(found)


def attacking(attack, port, seconds, done, release):
    attacks.more_descriptors()
    held = attack(port, seconds)
    done.set()
    release.wait(30)
    for connection in held:
        connection.close()


def socket_memory():
    """Of all TCP sockets of this machine."""
    text = pathlib.Path("/proc/net/sockstat").read_text()
    return int(re.search(r"^TCP:.* mem (\d+)", text, re.M)[1]) * resource.getpagesize()


def measure(attack, seconds, folder):
    service = Service(attack, folder)
    try:
        service.fill(attack.fill)
        time.sleep(2)
        before, sockets = service.status("VmRSS"), socket_memory()
        begun_log = service.log.stat().st_size
        # The peak begins anew.
        pathlib.Path(f"/proc/{service.process.pid}/clear_refs").write_text("5")
        done, stop, release = (multiprocessing.Event() for _ in range(3))
        results = multiprocessing.Queue()
        prober = multiprocessing.Process(
            target=probing, args=(service.port, attack.tls, stop, results)
        )
        attacker = multiprocessing.Process(
            target=attacking, args=(attack.attack, service.port, seconds, done, release)
        )
        prober.start()
        attacker.start()
        descriptors = most_sockets = 0
        while not done.wait(0.2):
            descriptors = max(descriptors, service.descriptors())
            most_sockets = max(most_sockets, socket_memory() - sockets)
        stop.set()
        found = results.get()
        prober.join()
        peak = service.status("VmHWM")
        release.set()
        attacker.join()
        time.sleep(10)
        return {
            "before": before / MIB,
            "peak": peak / MIB,
            "after": service.status("VmRSS") / MIB,
            "sockets": most_sockets / MIB,
            "descriptors": descriptors,
            "log": (service.log.stat().st_size - begun_log) / MIB,
            "probes": {path: summary(times) for path, times in found.items()},
        }
    finally:
        service.end()


def summary(times):
    answered = sorted(took for took in times if took is not None)
    p99 = answered[min(len(answered) - 1, int(len(answered) * 0.99))] * 1000 if answered else None
    return {"asked": len(times), "failed": len(times) - len(answered), "p99_ms": p99}


def shown(figures):
    """The cells of one run."""
    cells = [
        f"{figures['before']:.0f} / {figures['peak']:.0f} / {figures['after']:.0f}",
        f"{figures['sockets']:.0f}",
        str(figures["descriptors"]),
        f"{figures['log']:.1f}",
    ]
    for path in PROBED:
        probes = figures["probes"][path]
        p99 = "none" if probes["p99_ms"] is None else f"{probes['p99_ms']:.0f} ms"
        failed = f", {probes['failed']} of {probes['asked']} failed" if probes["failed"] else ""
        cells.append(p99 + failed)
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--only", default=",".join(ATTACKS))
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("--before", type=pathlib.Path)
    arguments = parser.parse_args()
    earlier = json.loads(arguments.before.read_text()) if arguments.before else {}
    head = [
        "attack",
        "",
        "RSS before / peak / 10 s after, MiB",
        "sockets, MiB",
        "descriptors",
        "log, MiB",
        *(f"p99 `{path}`" for path in PROBED),
    ]
    print(f"| {' | '.join(head)} |")
    print("|" + "---|" * len(head))
    figures = {}
    for name in arguments.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = measure(ATTACKS[name], arguments.seconds, pathlib.Path(folder))
        what = ATTACKS[name].what
        if name in earlier:
            print(f"| {what} | before | {' | '.join(shown(earlier[name]))} |")
            what = ""
        now = "now" if earlier else ""
        print(f"| {what} | {now} | {' | '.join(shown(figures[name]))} |", flush=True)
    if arguments.write:
        arguments.write.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
