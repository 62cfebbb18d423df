"""A real Prometheus that knows the week of a cluster: what is read of it."""

import html
import json
import os
import shutil
import subprocess
import time

import pytest

import week
from conftest import free_port, running, until


@pytest.fixture(scope="session", params=["prometheus", "victoria-metrics"])
def prometheus(request, tmp_path_factory):
    """The address of a Prometheus, or of what speaks like it, and the end of the week it knows."""
    if not shutil.which(request.param):
        pytest.skip(f"there is no {request.param} here")
    folder = tmp_path_factory.mktemp(request.param)
    end = int(time.time()) // 60 * 60
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    if request.param == "prometheus":
        (folder / "prometheus.yml").write_text("{}")
        command = [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={week.write(folder, end)}",
            "--storage.tsdb.retention.time=30d",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
    else:
        command = [
            "victoria-metrics",
            f"-storageDataPath={folder / 'data'}",
            f"-httpListenAddr=127.0.0.1:{port}",
        ]
    with running(command, url, folder):
        if request.param == "victoria-metrics":
            week.send(url, end)
        yield url, end


def container_of(service, name):
    found = service.get(f"/workloads?search={name}").json()["workloads"]
    return found[0]["containers"][0] if found else None


def test_a_workload_begins_with_what_is_known_of_its_week(start, prometheus):
    url, _ = prometheus
    quick = {"AUTO_SCALE_INTERVAL": "1", "PROMETHEUS_QUERIES_PER_MINUTE": "6000"}
    service = start("--simulate", PROMETHEUS_URL=url, NAMESPACES="default,shop,data", **quick)

    def health():
        return service.get("/readyz").json()["prometheus"]

    until(lambda: health()["workloads_read"] > 10, what="the past of the workloads")
    assert health()["answers"] is True and health()["error"] is None, health()
    postgres = container_of(service, "postgres")
    # Bursts of 1.7 cores and 1900 MiB, six hours apart; the simulated pod uses less.
    assert postgres["peak"]["cpu_cores"] == pytest.approx(1.7, rel=0.05), postgres
    assert postgres["peak"]["memory_mb"] >= 1899, postgres
    # What it uses for nearly all of the time; the histogram is as exact as a tenth.
    assert 0.6 <= postgres["typical"]["cpu_cores"] < 0.75, postgres
    # It was killed at 5 GiB yesterday, and so would have needed a step more.
    kafka = container_of(service, "kafka")
    assert kafka["peak"]["memory_mb"] == pytest.approx(5120 * 1.2), kafka
    # Of pods that are gone, whose names differ in what was drawn.
    cart = container_of(service, "cart")
    assert cart["peak"]["memory_mb"] == pytest.approx(1500), cart


def evaluate(*arguments):
    command = [os.environ["DQN_SCALER"], "evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_a_cluster_is_replayed_workload_by_workload(prometheus, tmp_path):
    url, _ = prometheus
    report, saved = tmp_path / "report.html", tmp_path / "saved"
    quick = ["--prometheus", url, "--since", "7d", "--step", "120", "--pods", "1"]
    quick += ["--usage", "ideal"]
    begun = evaluate(*quick, "--save", saved, "--json", "--report", report)
    assert begun.returncode == 0, begun.stderr
    answer = json.loads(begun.stdout)
    assert {row["policy"] for row in answer["policies"]} == {"peak-tuned", "vpa", "dqn"}
    savings = {
        f"{of['namespace']}/{of['workload']}/{of['container']}": of
        for of in answer["savings"]["workloads"]
    }
    # What has lived for an hour tells too little.
    assert set(savings) == {
        "data/postgres/postgres",
        "data/kafka/kafka",
        "shop/cart/cart",
        "shop/cart/proxy",
    }
    postgres = savings["data/postgres/postgres"]
    assert postgres["today"] == pytest.approx({"cpu": 4, "memory": 8192}, rel=0.02)
    assert postgres["pods"] == pytest.approx(1, abs=0.02)
    # Half of its limits is requested; it uses 1.7 cores and 1900 MiB at most.
    assert 0.3 < postgres["saved"]["cpu"] < 1.9, postgres
    assert 1500 < postgres["saved"]["memory"] < 3300, postgres
    assert postgres["throttled_today"] == pytest.approx(0.2, abs=0.01)
    cart = savings["shop/cart/cart"]
    # Two at the same time, for which one was replayed.
    assert cart["pods"] == pytest.approx(2, abs=0.05), cart
    assert cart["today"]["cpu"] == pytest.approx(12, abs=0.3)
    assert savings["data/kafka/kafka"]["kills_today"] == pytest.approx(1 / 7, abs=0.03)
    assert savings["shop/cart/proxy"]["today"] == {"cpu": None, "memory": None}
    page = html.unescape(report.read_text())
    assert "would have saved" in page and "data/postgres/postgres" in page

    # It goes on where it ended: what is there is not asked for again.
    files = sorted(saved.glob("*.csv"))
    assert len(files) == 4
    kept = {file: file.stat().st_mtime_ns for file in files[1:]}
    files[0].unlink()
    again = evaluate(*quick, "--save", saved, "--policies", "static")
    assert again.returncode == 0, again.stderr
    assert files[0].exists() and "static would have saved" in again.stdout
    assert {file: file.stat().st_mtime_ns for file in files[1:]} == kept
    # The folder is replayed without a Prometheus, too, and only as what it is.
    offline = evaluate("--traces", saved, "--policies", "static")
    assert "data/kafka/kafka" in offline.stdout, offline.stderr
    other = evaluate("--prometheus", url, "--since", "1d", "--save", saved)
    assert other.returncode != 0 and "choose another folder" in other.stderr


def test_what_is_wrong_is_told_at_once(prometheus, tmp_path):
    url, _ = prometheus
    for arguments, message in [
        (["--prometheus", "http://127.0.0.1:1", "--namespaces", "shop"], "onnection refused"),
        (["--prometheus", url, "--namespaces", "nowhere"], "no container"),
        (["--prometheus", "prometheus:9090"], "neither http://HOST nor https://HOST"),
        (["--prometheus", url, "--since", "7"], "7d, 12h or 90m"),
        (["--prometheus", url, "--traces", tmp_path], "cannot be used with"),
    ]:
        done = evaluate(*arguments)
        assert done.returncode != 0 and message in done.stderr, (arguments, done.stderr)
