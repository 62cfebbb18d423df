"""The release binary as a process beside the cluster: by its own ServiceAccount token, with nothing
but deploy/'s rights."""

import json
import os
import socket
import subprocess
import tempfile

from cluster import NAMESPACE, child, http_json, until

ROOT = os.environ["ROOT"]
SCRIPT = f"{ROOT}/tests/e2e/cluster.sh"
BINARY = os.environ["DQN_SCALER"]
LOGS = os.environ["E2E_LOGS"]


def kubectl(*arguments, **options):
    done = subprocess.run(
        ["kubectl", *arguments], check=True, capture_output=True, text=True, **options
    )
    return done.stdout


def service_account_kubeconfig(server=None, account="dqn-scaler"):
    """A kubeconfig with a ServiceAccount's token and nothing else of the administrator's."""
    shown = kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json")
    config = json.loads(shown)
    cluster = config["clusters"][0]["cluster"]
    if server:
        cluster = {"server": server}
    token = kubectl("create", "token", account, "--namespace=dqn-scaler", "--duration=2h")
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "e2e",
        "clusters": [{"name": "e2e", "cluster": cluster}],
        "users": [{"name": "e2e", "user": {"token": token.strip()}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
    }


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Scaler:
    def __init__(self, name, server=None, **settings):
        self.folder = tempfile.TemporaryDirectory()
        kubeconfig = os.path.join(self.folder.name, "kubeconfig")
        with open(kubeconfig, "w") as file:
            json.dump(service_account_kubeconfig(server), file)
        port = free_port()
        environment = {
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "KUBECONFIG": kubeconfig,
            "MODEL_PATH": os.environ["E2E_MODEL"],
            "NAMESPACES": NAMESPACE,
            "AUTO_SCALE_ENABLED": "false",
            "DRY_RUN": "false",
            "STARTUP_PERIOD": "0",  # nobody waits for it but its own test
            "RUST_LOG": "info,dqn_scaler=debug",
        }
        environment |= {key.upper(): str(value) for key, value in settings.items()}
        inherited = {
            key: value for key, value in os.environ.items() if key in ("PATH", "LD_LIBRARY_PATH")
        }
        self.log = open(os.path.join(LOGS, f"scaler-{name}.log"), "w")  # noqa: SIM115
        self.process = child(
            [BINARY], env=inherited | environment, stderr=self.log, cwd=self.folder.name
        )
        self.url = f"http://127.0.0.1:{port}"
        try:
            until(30, "the scaler is ready", lambda: self.get("/readyz")[0] == 200)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the scaler did not end on SIGTERM") from None
        finally:
            self.log.close()
            self.folder.cleanup()

    def get(self, path):
        try:
            return http_json("GET", self.url + path)
        except ValueError:  # /livez and /readyz say "ok"
            return 200, "ok"

    def post(self, path, body=None):
        return http_json("POST", self.url + path, body if body is not None else {})

    def resize(self, pod, containers, fallback=True, namespace=NAMESPACE):
        query = "" if fallback else "?enable_horizontal_fallback=false"
        path = f"/api/namespaces/{namespace}/pods/{pod}/resize{query}"
        return self.post(path, {"containers": containers})

    def outcome(self, pod):
        """What a pass over all pods said of this one."""
        code, answer = self.post("/scale/all")
        assert code == 200, answer
        return next(result for result in answer["results"] if result["pod_name"] == pod)
