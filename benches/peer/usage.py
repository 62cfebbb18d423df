"""metrics.k8s.io for pods that nobody runs: each uses what its name and the time make of it."""

import contextlib
import http.server
import json
import math
import os
import ssl
import threading
import time

GROUP = "metrics.k8s.io/v1beta1"
ROOT = f"/apis/{GROUP}"
PORT = 20443  # where the end-to-end suite has its metrics-server


def resource(name, kind, namespaced):
    verbs = ["get", "list"]
    return {"name": name, "kind": kind, "namespaced": namespaced, "verbs": verbs}


RESOURCES = [resource("nodes", "NodeMetrics", False), resource("pods", "PodMetrics", True)]


class Usage:
    """Answers for pods, each a namespace, a name and labels, until the process ends."""

    def __init__(self, pods):
        self.pods = pods
        handler = type("Handler", (Handler,), {"usage": self})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pki = os.path.join(os.environ["DIR"], "pki")
        context.load_cert_chain(f"{pki}/node.crt", f"{pki}/node.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def answer(self, path):
        parts = path.split("?")[0].removeprefix(ROOT).strip("/").split("/")
        if parts == [""]:
            return {"kind": "APIResourceList", "groupVersion": GROUP, "resources": RESOURCES}
        if parts[0] == "nodes":
            return {"kind": "NodeMetricsList", "apiVersion": GROUP, "items": []}
        namespace = parts[1] if parts[0] == "namespaces" else None
        now = time.time()
        items = [measured(*pod, now) for pod in self.pods if namespace in (None, pod[0])]
        return {"kind": "PodMetricsList", "apiVersion": GROUP, "metadata": {}, "items": items}


def measured(namespace, name, labels, now):
    phase = hash(name) % 600
    load = 1.0 + 0.5 * math.sin((now + phase) / 600 * 2 * math.pi)
    timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    usage = {"cpu": f"{int(1e8 * load)}n", "memory": f"{int(2e5 * load)}Ki"}
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "timestamp": timestamp,
        "window": "15s",
        "containers": [{"name": "app", "usage": usage}],
    }


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    usage = None

    def do_GET(self):
        body = json.dumps(self.usage.answer(self.path)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # who asks may have gone
            self.wfile.write(body)

    def log_message(self, *_):
        pass
