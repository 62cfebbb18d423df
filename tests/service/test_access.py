"""Who may write: the token, read-only, other origins, TLS, and the lines that tell of it."""

import json
import pathlib
import ssl
import subprocess

import requests

from conftest import until

TOKEN = "correct-horse-battery-staple"
RESIZE = "/api/namespaces/data/pods/postgres-0/resize"
WRITES = [
    "/config",
    "/scale/pod/data/postgres-0",
    "/scale/all",
    RESIZE,
    "/autoscale/start",
    "/autoscale/stop",
]
READS = [
    "/",
    "/health",
    "/livez",
    "/readyz",
    "/config",
    "/pods",
    "/decisions",
    "/statistics",
    "/metrics",
    "/openapi.json",
    "/docs/",
]
LIVE = {
    "DRY_RUN": "false",
    "NAMESPACES": "default,shop,data,monitoring",
    "AUTO_SCALE_ENABLED": "false",
}


def write(service, path, **how):
    body = (
        {"containers": {"postgres": {"limits": {"cpu": "3"}}}}
        if path.endswith("/resize")
        else {"scale_factor": 0.3}
    )
    return service.post(path, json=body, **how)


def assert_nothing_changed(service):
    assert service.get("/config").json()["scale_factor"] == 0.2
    assert service.get("/statistics").json()["statistics"]["overview"]["total_decisions"] == 0
    pods = service.get("/pods").json()["pods"]
    limits = next(pod for pod in pods if pod["name"] == "postgres-0")["containers"][0]["resources"][
        "limits"
    ]
    assert limits["cpu"] == "2"


def audit(service):
    lines = (
        json.loads(line)
        for line in pathlib.Path(service.log).read_text().splitlines()
        if line.startswith("{")
    )
    return [line for line in lines if line["target"] == "audit"]


def test_a_write_needs_the_token_that_the_file_holds_now(start, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    service = start("--simulate", WRITE_TOKEN_FILE=str(file), **LIVE)
    for headers in [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer "},
    ]:
        for path in WRITES:
            answer = write(service, path, headers=headers)
            assert answer.status_code == 401 and answer.json()["success"] is False, (path, headers)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert TOKEN not in answer.text
    assert_nothing_changed(service)
    assert all(service.get(path).ok for path in READS)
    known = {"Authorization": f"bearer {TOKEN}"}
    for path in WRITES:
        assert write(service, path, headers=known).status_code == 200, path
    replacement = tmp_path / "new"
    replacement.write_text("another-token-of-some-length")
    replacement.rename(file)
    assert write(service, "/config", headers=known).status_code == 401
    assert write(
        service, "/config", headers={"Authorization": "Bearer another-token-of-some-length"}
    ).ok
    file.unlink()
    for headers in [known, {}]:
        assert write(service, "/config", headers=headers).status_code == 503, (
            "without its file nobody writes"
        )


def test_a_token_that_is_none_stops_the_start(start, tmp_path):
    import os

    for content in [None, "", "  \n", "short", "two words of sixteen or more"]:
        file = tmp_path / "token"
        if content is not None:
            file.write_text(content)
        run = subprocess.run(
            [os.environ["DQN_SCALER"], "--simulate", "--port", "0"],
            capture_output=True,
            text=True,
            timeout=30,
            cwd=pathlib.Path(__file__).parents[2],
            env=os.environ | {"WRITE_TOKEN_FILE": str(file)},
        )
        assert run.returncode != 0 and str(file) in run.stderr, (content, run.stderr)


def test_read_only_refuses_every_write_and_no_read(start, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    service = start("--simulate", READ_ONLY="true", WRITE_TOKEN_FILE=str(file), **LIVE)
    for path in WRITES:
        answer = write(service, path, headers={"Authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer.json()) == (
            403,
            {"success": False, "error": "The API is read-only"},
        ), path
    assert_nothing_changed(service)
    assert all(service.get(path).ok for path in READS)
    assert (service.post("/nowhere").status_code, service.post("/health").status_code) == (404, 405)


def test_only_listed_origins_may_look_and_write(start):
    listed, foreign = "https://dashboard.example", "https://evil.example"
    service = start("--simulate", CORS_ORIGINS=f"{listed}, http://localhost:3000", **LIVE)
    for method in ["GET", "OPTIONS"]:
        answer = requests.request(
            method, f"{service.url}/config", headers={"Origin": listed}, timeout=30
        )
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, listed)
        answer = requests.request(
            method, f"{service.url}/config", headers={"Origin": foreign}, timeout=30
        )
        assert answer.status_code == 200 and answer.headers["vary"] == "Origin"
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert "access-control-allow-origin" not in service.get("/config").headers
    # A form on a foreign page sends its request without asking first.
    for path in WRITES:
        assert write(service, path, headers={"Origin": foreign}).status_code == 403, path
        assert write(service, path, headers={"Origin": "null"}).status_code == 403, path
    assert_nothing_changed(service)
    for origin in [listed, service.url]:
        assert write(service, "/config", headers={"Origin": origin}).ok, origin


def test_every_write_leaves_a_line(start, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    service = start(
        "--simulate", WRITE_TOKEN_FILE=str(file), LOG_FORMAT="json", RUST_LOG="warn", **LIVE
    )
    write(
        service,
        "/config",
        headers={"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "203.0.113.7"},
    )
    write(service, "/scale/all", headers={"Origin": "https://evil.example"})
    write(
        service,
        RESIZE.replace("postgres-0", "nobody"),
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    service.get("/config")
    lines = until(lambda: audit(service) if len(audit(service)) >= 3 else None, what="three lines")
    told = [(line["method"], line["path"], line["status"], line["permitted_by"]) for line in lines]
    assert told == [
        ("POST", "/config", 200, "token"),
        ("POST", "/scale/all", 401, "nobody"),
        ("POST", RESIZE.replace("postgres-0", "nobody"), 404, "token"),
    ]
    assert all(line["client"].startswith("127.0.0.1:") for line in lines)
    assert (lines[0]["forwarded_for"], lines[1]["origin"]) == (
        "203.0.113.7",
        "https://evil.example",
    )
    assert TOKEN not in pathlib.Path(service.log).read_text()


def certificate(folder, name):
    """A key and a certificate for 127.0.0.1, signed by itself."""
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            key,
            "-out",
            cert,
        ],
        check=True,
        capture_output=True,
    )
    return cert.read_bytes(), key.read_bytes()


def test_tls_and_a_certificate_that_is_renewed(start, tmp_path):
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    old, new = certificate(tmp_path, "old"), certificate(tmp_path, "new")
    cert.write_bytes(old[0])
    key.write_bytes(old[1])
    service = start("--simulate", TLS_CERT=str(cert), TLS_KEY=str(key), LOG_FORMAT="json", **LIVE)
    assert service.url.startswith("https")
    health = lambda: requests.get(
        f"{service.url}/health", timeout=10, verify=str(tmp_path / "old.crt")
    )
    assert health().json()["status"] == "healthy"
    try:
        requests.get(service.url.replace("https", "http") + "/health", timeout=10)
        raise AssertionError("plain HTTP was answered")
    except requests.ConnectionError:
        pass

    def served():
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", service.port)))

    der = lambda pem: ssl.PEM_cert_to_DER_cert(pem.decode())
    assert served() == der(old[0])
    # A half-written renewal, and one whose key does not belong to it, change nothing.
    cert.write_bytes(new[0])
    until(lambda: "the old one stays" in pathlib.Path(service.log).read_text(), what="a warning")
    assert served() == der(old[0]) and health().ok
    key.write_bytes(new[1])
    until(lambda: served() == der(new[0]), what="the new certificate")
    assert requests.get(f"{service.url}/health", timeout=10, verify=str(tmp_path / "new.crt")).ok
    requests.post(f"{service.url}/autoscale/stop", timeout=10, verify=str(tmp_path / "new.crt"))
    until(lambda: audit(service), what="the audit line")
    assert service.stop() == 0
