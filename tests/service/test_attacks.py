"""What holds under attack, of the binary: its descriptors, its TLS, its log. tests/attack measures
more of it."""

import contextlib
import json
import pathlib
import resource
import socket
import subprocess
import time

import pytest
import requests

from conftest import until


@pytest.fixture
def held():
    connections = []
    yield connections
    for connection in connections:
        connection.close()


def connected(service, count, first=b""):
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", service.port), timeout=5)
        if first:
            connection.sendall(first)
        yield connection


def metric(service, name):
    lines = service.get("/metrics").text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0)


def test_probes_are_answered_in_a_storm_of_one_address(start, held):
    service = start("--simulate")
    limits = resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)
    assert limits[0] == min(limits[1], 65536), "the service asks for what it may have"
    held.extend(connected(service, 700))
    for _ in range(10):
        for path in ["/livez", "/readyz", "/health"]:
            assert service.get(path).ok
    assert service.get("/config").status_code == 503
    log = pathlib.Path(service.log).read_text()
    assert "too many connections" in log and 'bound="address"' in log
    for connection in held:
        connection.close()
    until(lambda: service.get("/config").ok, what="a place")
    assert metric(service, 'dqn_scaler_connections_refused_total{reason="address"}') > 400


def test_without_descriptors_the_service_waits_and_goes_on(start, held):
    service = start("--simulate")
    pid = service.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 10, limits[1]))
    held.extend(connected(service, 30))
    told = lambda: "no connection can be accepted" in pathlib.Path(service.log).read_text()
    until(told, what="a line in the log")
    begun = sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text().split()[13:15]))
    time.sleep(2)
    spent = sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text().split()[13:15])) - begun
    assert spent < 100, f"{spent} ticks of CPU in two seconds of waiting"
    for connection in held:
        connection.close()
    until(service.answers, what="an answer")


def test_a_handshake_that_does_not_go_on_is_ended(start, held, tmp_path):
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        + ["-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    service = start("--simulate", TLS_CERT=str(certificate), TLS_KEY=str(key))
    held.extend(connected(service, 300, b"\x16\x03\x01\x02\x00\x01\x00"))
    ask = lambda path: requests.get(service.url + path, timeout=5, verify=False)
    assert all(ask(path).ok for path in ["/livez", "/health"])
    held[0].settimeout(20)
    with contextlib.suppress(ConnectionResetError):
        assert held[0].recv(100) == b""
    until(lambda: ask("/config").ok, what="places that are free again")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_flood_of_refused_writes_writes_a_bounded_log(start, form):
    service = start("--simulate", READ_ONLY="true", LOG_FORMAT=form, AUTO_SCALE_ENABLED="false")
    path = "/scale/pod/default/" + "a" * 20_000
    session = requests.Session()
    for _ in range(500):
        assert session.post(service.url + path, timeout=5).status_code == 403
    told = lambda: "there were more lines of this kind" in pathlib.Path(service.log).read_text()
    until(told, what="the summary")
    log = pathlib.Path(service.log).read_text()
    lines = [line for line in log.splitlines() if "audit" in line and "/scale/pod/" in line]
    assert 100 <= len(lines) < 400
    assert len(log) < 300_000
    if form == "json":
        assert json.loads(lines[0])["status"] == 403
