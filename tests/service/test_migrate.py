"""`migrate vpa` on a cluster: what it reads there, and what it makes of it."""

import json
import os
import subprocess

import requests

from conftest import free_port

VPA = {
    "apiVersion": "autoscaling.k8s.io/v1",
    "kind": "VerticalPodAutoscaler",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "updatePolicy": {"updateMode": "Recreate"},
        "resourcePolicy": {
            "containerPolicies": [
                {
                    "containerName": "web",
                    "minAllowed": {"cpu": "25m", "memory": "128Mi"},
                    "maxAllowed": {"cpu": "500m", "memory": "1Gi"},
                },
                {"containerName": "proxy", "mode": "Off"},
            ]
        },
    },
}


def migrate(address, folder, *arguments):
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "sim",
                "contexts": [{"name": "sim", "context": {"cluster": "sim", "user": "me"}}],
                "clusters": [{"name": "sim", "cluster": {"server": address}}],
                "users": [{"name": "me", "user": {}}],
            }
        )
    )
    command = [os.environ["DQN_SCALER"], "migrate", "vpa", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"KUBECONFIG": str(kubeconfig)},
    )


def test_what_a_cluster_has_is_read_with_its_templates(start, tmp_path):
    port = free_port()
    start("--simulate", "--simulate-listen", f"127.0.0.1:{port}", AUTO_SCALE_ENABLED="false")
    address = f"http://127.0.0.1:{port}"
    vpas = f"{address}/apis/autoscaling.k8s.io/v1/namespaces/default/verticalpodautoscalers"
    assert requests.post(vpas, json=VPA, timeout=10).ok
    done = migrate(address, tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert len(answer["workloads"]) == 1, answer
    web = answer["workloads"][0]
    # The template asks for 250m and 256Mi, and is limited to 1 and 512Mi.
    assert web["target"] == "deployment/web"
    assert web["annotations"] == {
        "containers": "web",
        "max-cpu": "2",
        "max-memory": "2Gi",
        "min-cpu": "100m",
        "min-memory": "256Mi",
        "mode": "live",
    }
    shown = migrate(address, tmp_path, "--namespaces", "default").stdout
    assert "annotate --overwrite deployment/web" in shown
    # What is printed is a script.
    subprocess.run(["bash", "-n"], input=shown, text=True, check=True)
    assert "no VerticalPodAutoscaler" in migrate(address, tmp_path, "--namespaces", "shop").stdout
    assert "cannot connect" in migrate("http://127.0.0.1:1", tmp_path).stderr
