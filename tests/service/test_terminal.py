"""`dqn-scaler top` and `dqn-scaler explain` in a real terminal, against the running binary."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios

import pytest

from conftest import until

ROWS, COLUMNS = 24, 150
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A program that has a terminal for itself."""

    def __init__(self, *arguments, rows=ROWS, columns=COLUMNS):
        self.leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [os.environ["DQN_SCALER"], *arguments],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=os.environ | {"TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(follower)
        self.text = ""

    def read(self, seconds=0.2):
        while select.select([self.leader], [], [], seconds)[0]:
            try:
                self.text += os.read(self.leader, 65536).decode()
            except OSError:
                return

    def type(self, keys):
        os.write(self.leader, keys.encode())

    def screen(self):
        """The lines that can be seen now."""
        self.read()
        frame = self.text.split("\x1b[2J")[-1]
        return CODES.sub("", frame).replace("\r", "").split("\n")

    def shows(self, pattern):
        def seen():
            return re.search(pattern, "\n".join(self.screen()))

        return until(seen, seconds=20, what=f"{pattern} on the screen")


@contextlib.contextmanager
def terminal(*arguments, **size):
    program = Terminal(*arguments, **size)
    try:
        yield program
    finally:
        program.process.kill()
        program.process.wait()
        os.close(program.leader)


@pytest.fixture(scope="module")
def changed(demo):
    until(lambda: demo.get("/changes").json()["found"] > 10, seconds=60, what="changes")
    return demo


def test_top_shows_the_workloads_sorts_them_and_goes_on(changed):
    with terminal("top", "--server", changed.url) as top:
        top.shows(r"dqn-scaler http://\S+ · live · 14 workloads · saved \S+ CPU, \S+")
        head = top.shows(r"WORKLOAD .*").group()
        for column in ("PODS", "CPU USED", "REQ", "LIMIT", "NEEDED", "MEM USED", "LAST CHANGE"):
            assert column in head
        top.shows(r"data/StatefulSet kafka +3 +[\d.m]+ +[\d.m]+ +[\d.m]+ +[\d.m]+ +[\d.MGi]+")
        assert all(len(line) <= COLUMNS for line in top.screen())
        assert len(top.screen()) <= ROWS, "no more than there is room for"
        # It lives: the time on it goes on.
        first = top.shows(r"\d\d:\d\d:\d\d UTC").group()
        until(lambda: first not in "\n".join(top.screen()), what="another moment")
        top.type("n")
        top.shows("sorted by name")
        rows = (re.match(r"(\w+)/\w+ (\S+)", line) for line in top.screen())
        names = [row.groups() for row in rows if row]
        assert names == sorted(names) and len(names) == 14
        top.type("q")
        assert top.process.wait(timeout=10) == 0


def test_top_fits_a_small_terminal_and_says_what_is_wrong(changed):
    with terminal("top", "--server", changed.url, rows=8, columns=60) as top:
        top.shows("WORKLOAD")
        assert all(len(line) <= 60 for line in top.screen()) and len(top.screen()) <= 8
    with terminal("top", "--server", "http://127.0.0.1:9") as top:
        top.shows("http://127.0.0.1:9 does not answer")
        top.type("q")
        assert top.process.wait(timeout=10) == 0


def test_top_into_a_file_is_a_table_told_once(changed):
    told = subprocess.run(
        [os.environ["DQN_SCALER"], "top", "--server", changed.url, "--search", "kafka"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    assert "data/StatefulSet kafka" in told and "\x1b[2J" not in told
    assert len([line for line in told.splitlines() if re.match(r"\w+/", line)]) == 1


def test_explain_tells_every_figure_and_where_each_setting_comes_from(start):
    service = start(
        "--simulate", "--speed", "60", "--scale-factor", "0.15", NAMESPACES="data", MIN_CPU="0.2"
    )
    service.post("/config", json={"scaling_cooldown": 5}).raise_for_status()
    until(lambda: service.get("/decisions?pod=postgres-0").json()["count"], what="a decision")
    with terminal("explain", "data/postgres-0", "--server", service.url) as explain:
        explain.shows(r"model_path")
        told = "\n".join(explain.screen())
        assert explain.process.wait(timeout=10) == 0
    for line in (
        r"Pod data/postgres-0 of StatefulSet postgres",
        r"CPU: \d+ % of the limit is in use; the network prefers (DE|IN)CREASE|MAINTAIN",
        r"Q of DECREASE +-?[\d.]+ +-?[\d.]+",
        r"recent peak +\S.*(MiB|GiB)",
        r"lowest safe limit +\S",
        r"typical use +\S",
        r"new limit +\S",
        r"scale_factor +0.15 +command line",
        r"scaling_cooldown +5 +POST /config",
        r"min_cpu +0.2 +environment",
        r"guard_cpu_window +28800 +default",
    ):
        assert re.search(line, told), (line, told)


def test_explain_says_why_a_pod_is_left_alone_and_what_is_wrong(changed):
    def explain(*arguments):
        return subprocess.run(
            [os.environ["DQN_SCALER"], "explain", *arguments, "--server", changed.url],
            capture_output=True,
            text=True,
            timeout=30,
        )

    redis = next(
        pod["name"] for pod in changed.get("/pods").json()["pods"] if "redis" in pod["name"]
    )
    assert "is excluded from scaling" in explain(f"default/{redis}").stdout
    unreachable = ["explain", "data/kafka-0", "--server", "http://127.0.0.1:9"]
    failed = subprocess.run(
        [os.environ["DQN_SCALER"], *unreachable], capture_output=True, text=True, timeout=30
    )
    assert failed.stderr.startswith("Error: http://127.0.0.1:9 does not answer")
    # Who reads may have seen enough.
    told, seen = os.pipe()
    os.close(told)
    arguments = ["explain", f"default/{redis}", "--server", changed.url]
    closed = subprocess.run(
        [os.environ["DQN_SCALER"], *arguments], stdout=seen, stderr=subprocess.PIPE, timeout=30
    )
    os.close(seen)
    assert (closed.returncode, closed.stderr) == (0, b"")
    for pod, words in [
        ("data/nobody", 'pods "nobody" not found'),
        ("nobody", "is no NAMESPACE/POD"),
    ]:
        failed = explain(pod)
        assert failed.returncode != 0 and words in failed.stderr, failed.stderr
