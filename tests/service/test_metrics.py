"""The metrics as Prometheus takes them, the rules and the dashboard made of them."""

import json
import pathlib
import subprocess
import time

import pytest
import requests

from conftest import free_port, running, until

MONITORING = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
LIVE = {"DRY_RUN": "false", "NAMESPACES": "default,shop,data,monitoring", "SCALING_COOLDOWN": "1"}


def promtool(*arguments, **how):
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, timeout=60, **how
    )
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    return done.stdout


def samples(service):
    """Every sample by its name with labels."""
    lines = service.get("/metrics").text.splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


def test_the_format_and_the_names_are_as_prometheus_wants_them(start):
    for detail in ["none", "namespace", "pod"]:
        service = start("--simulate", "--speed", "60", POD_METRICS=detail, **LIVE)
        until(
            lambda: samples(service).get('dqn_scaler_cycles_total{result="success"}', 0) >= 2,
            what="a second cycle",
        )
        answer = service.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        promtool("check", "metrics", input=answer.text)
        found = samples(service)
        of_pods = [name for name in found if name.startswith("dqn_scaler_pod_")]
        of_namespaces = [name for name in found if name.startswith("dqn_scaler_namespace_")]
        monitored = found["dqn_scaler_pods_monitored"]
        assert (len(of_pods), len(of_namespaces)) == {
            "none": (0, 0),
            "namespace": (0, 24),
            "pod": (6 * monitored, 0),
        }[detail]
        service.stop()


def test_what_is_counted_is_what_happened(start):
    service = start("--simulate", "--speed", "60", **LIVE, AUTO_SCALE_ENABLED="false")
    before = samples(service)
    assert before["dqn_scaler_autoscale_enabled"] == 0 and before["dqn_scaler_dry_run"] == 0
    assert before["dqn_scaler_kubernetes_connected"] == 1
    # What is watched is known without a request, and what is not is asked for.
    assert service.get("/pods/default/nobody").status_code == 404
    assert service.get("/pods/elsewhere/nobody").status_code == 404
    assert service.post("/scale/all").ok
    resize = {"containers": {"postgres": {"limits": {"cpu": "3"}}}}
    assert (
        service.post("/api/namespaces/data/pods/postgres-0/resize", json=resize).status_code == 200
    )
    resize = {"containers": {"postgres": {"requests": {"cpu": "900"}, "limits": {"cpu": "900"}}}}
    assert (
        service.post(
            "/api/namespaces/data/pods/postgres-0/resize?enable_horizontal_fallback=false",
            json=resize,
        ).status_code
        == 400
    )
    after = samples(service)
    statistics = service.get("/statistics").json()["statistics"]
    for resource in ["cpu", "memory"]:
        for action, count in statistics["action_distribution"][f"{resource}_actions"].items():
            label = f'{{resource="{resource}",action="{action}"}}'
            assert after.get(f"dqn_scaler_decisions_total{label}", 0) == count, label
    applied = statistics["overview"]["applied_scalings"]
    assert after['dqn_scaler_resizes_total{method="vertical"}'] == applied + 1
    assert after["dqn_scaler_resize_failures_total"] >= 1
    assert after['dqn_scaler_resize_duration_seconds_count{result="success"}'] == applied + 1
    assert after['dqn_scaler_kubernetes_errors_total{verb="get",code="404"}'] == 1
    assert after['dqn_scaler_kubernetes_requests_total{verb="patch"}'] >= applied + 2
    assert after['dqn_scaler_cycles_total{result="success"}'] == 1
    phases = sum(
        value
        for name, value in after.items()
        if name.startswith("dqn_scaler_cycle_phase_duration_seconds_sum")
    )
    assert phases == pytest.approx(after["dqn_scaler_cycle_duration_seconds_sum"])
    changed = after["dqn_scaler_config_last_change_timestamp_seconds"]
    assert changed == before["dqn_scaler_config_last_change_timestamp_seconds"]
    assert service.post("/config", json={"dry_run": True}).ok
    now = samples(service)
    assert changed < now["dqn_scaler_config_last_change_timestamp_seconds"] <= time.time()
    assert now["dqn_scaler_dry_run"] == 1


def test_usage_is_summed_by_namespace(start):
    service = start("--simulate", "--speed", "1", **LIVE, AUTO_SCALE_ENABLED="false")
    service.post("/scale/all")
    pods = [
        pod for pod in service.get("/pods/overview?limit=500").json()["pods"] if pod["monitored"]
    ]
    found = samples(service)
    for namespace in {pod["namespace"] for pod in pods}:
        limit = sum(pod["resources"]["cpu_limit"] for pod in pods if pod["namespace"] == namespace)
        request = sum(
            pod["resources"]["memory_request_mb"] for pod in pods if pod["namespace"] == namespace
        )
        label = f'{{namespace="{namespace}"}}'
        # Some limits have just been changed.
        assert found[f"dqn_scaler_namespace_cpu_limit_cores{label}"] == pytest.approx(
            limit, rel=0.3
        )
        assert found[f"dqn_scaler_namespace_memory_request_bytes{label}"] == pytest.approx(
            request * 2**20, rel=0.3
        )
        assert 0 < found[f"dqn_scaler_namespace_memory_usage_bytes{label}"] < 2**40


def test_rules_and_alerts():
    promtool("check", "rules", "rules.yaml", cwd=MONITORING)
    promtool("test", "rules", "rules_test.yaml", cwd=MONITORING)


@pytest.fixture
def prometheus(start, tmp_path):
    """A Prometheus that scrapes a live service, with the recording and alert rules."""
    service = start("--simulate", "--speed", "120", **LIVE)
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(MONITORING / "rules.yaml")],
        "scrape_configs": [
            {
                "job_name": "dqn-scaler",
                "static_configs": [{"targets": [f"127.0.0.1:{service.port}"]}],
            }
        ],
    }
    file = tmp_path / "prometheus.yml"
    file.write_text(json.dumps(configuration))
    promtool("check", "config", str(file))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    # An error of the API server, which does not happen by itself: a namespace that is not watched
    # is asked for.
    assert service.get("/pods/elsewhere/nobody").status_code == 404
    assert "dqn_scaler_kubernetes_errors_total{" in service.get("/metrics").text
    with running(command, url, tmp_path):
        yield service, url


def test_prometheus_scrapes_it_and_every_panel_of_the_dashboard_has_something_to_show(prometheus):
    service, url = prometheus

    def query(expression):
        parameters = {"query": expression}
        answer = requests.get(f"{url}/api/v1/query", params=parameters, timeout=10).json()
        assert answer["status"] == "success", (expression, answer)
        # What is neither a number nor there is nothing to look at.
        return [
            sample
            for sample in answer["data"]["result"]
            if sample["value"][1] not in ("NaN", "+Inf", "-Inf")
        ]

    until(lambda: query('up{job="dqn-scaler"} == 1'), what="the first scrape")
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) > 20
    waiting = [expression.replace("$__rate_interval", "30s") for expression in expressions]

    def all_shown():
        waiting[:] = [expression for expression in waiting if not query(expression)]
        return not waiting

    try:
        until(all_shown, seconds=60)
    except AssertionError:
        raise AssertionError(f"nothing to show for {waiting}") from None
    # Every metric of the service is there, and every rule can be evaluated.
    names = {
        line.split()[2]
        for line in service.get("/metrics").text.splitlines()
        if line.startswith("# TYPE")
    }
    stored = set(requests.get(f"{url}/api/v1/label/__name__/values", timeout=10).json()["data"])
    assert {name for name in names if name not in stored and f"{name}_count" not in stored} == set()
    rules = requests.get(f"{url}/api/v1/rules", timeout=10).json()["data"]["groups"]
    assert {rule["health"] for group in rules for rule in group["rules"]} == {"ok"}, rules
    firing = [
        rule["name"] for group in rules for rule in group["rules"] if rule.get("state") == "firing"
    ]
    assert firing == []
