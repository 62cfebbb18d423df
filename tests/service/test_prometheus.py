"""A real Prometheus that knows the week of a cluster: what is read of it."""

import subprocess
import time

import pytest
import requests

import week
from conftest import free_port, until


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory):
    """The address of a Prometheus, and the end of the week that it knows."""
    folder = tmp_path_factory.mktemp("prometheus")
    end = int(time.time()) // 60 * 60
    blocks = week.write(folder, end)
    (folder / "prometheus.yml").write_text("{}")
    port = free_port()
    with open(folder / "prometheus.log", "wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={blocks}",
                "--storage.tsdb.retention.time=30d",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"

    def is_ready():
        try:
            return requests.get(f"{url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False

    until(is_ready, what="a Prometheus that is ready")
    yield url, end
    process.terminate()
    process.wait(timeout=30)


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
