"""The release binary, started for a test on a port of its own."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import pytest
import requests
from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(holds, seconds=30, what="what is waited for"):
    """The first true answer of `holds`, asked again and again."""
    end = time.monotonic() + seconds
    while True:
        answer = holds()
        if answer:
            return answer
        assert time.monotonic() < end, f"{what} did not come within {seconds} s"
        time.sleep(0.1)


@contextlib.contextmanager
def running(command, url, folder):
    """A Prometheus, or what speaks like it, that answers at `url`; its log is in the folder."""
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)

    def is_ready():
        try:
            return requests.get(f"{url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False

    try:
        until(is_ready, what=f"a {command[0]} that is ready")
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


class Service:
    """One running dqn-scaler; its log is the file `log`."""

    def __init__(self, log, arguments=("--simulate", "--speed", "60"), environment=None, port=None):
        self.log = log
        self.port = port or free_port()
        scheme = "https" if "TLS_CERT" in (environment or {}) else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        known = ("PATH", "HOME", "LD_LIBRARY_PATH", "RUST_LOG")
        variables = {name: os.environ[name] for name in known if name in os.environ} | (
            environment or {}
        )
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [
                    os.environ["DQN_SCALER"],
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(self.port),
                    *arguments,
                ],
                cwd=ROOT,
                env=variables,
                stdout=output,
                stderr=output,
            )
        until(self.answers, what="an answer of the service")

    def answers(self):
        assert self.process.poll() is None, (
            f"the service ended: {pathlib.Path(self.log).read_text()}"
        )
        try:
            return requests.get(f"{self.url}/livez", timeout=5, verify=False).ok
        except requests.ConnectionError:
            return False

    def get(self, path, **how):
        return requests.get(self.url + path, timeout=30, **how)

    def post(self, path, **how):
        return requests.post(self.url + path, timeout=30, **how)

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=60)


@pytest.fixture
def start(tmp_path):
    """start(*arguments, **environment) gives a Service; all of them are stopped after the test."""
    running = []

    def begin(*arguments, port=None, **environment):
        service = Service(tmp_path / f"service-{len(running)}.log", arguments, environment, port)
        running.append(service)
        return service

    yield begin
    for service in running:
        service.stop()


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A service on the simulated cluster, live, an hour of it a minute, shared by the tests that
    only look."""
    log = tmp_path_factory.mktemp("demo") / "service.log"
    environment = {"DRY_RUN": "false", "NAMESPACES": "default,shop,data,monitoring"}
    service = Service(log, ("--simulate", "--speed", "60"), environment)
    yield service
    service.stop()


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        quiet = ("gpu", "quic", "background-networking", "component-update", "sync")
        arguments = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        yield chromium
        chromium.close()
