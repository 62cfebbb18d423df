"""State that outlives the process: kill -9 at any moment, files that are no state, disks that are
full."""

import os
import pathlib
import random
import signal
import subprocess
import threading
import time

import pytest

from conftest import ROOT, free_port, until

NAMESPACES = "default,shop,data,monitoring"
LOST = 1.0  # what a kill may cost, in seconds
COMMIT = 0.7  # what a commit may take on a busy machine


def decisions(service, limit=1000):
    return service.get(f"/decisions?limit={limit}").json()["decisions"]


def state_of(service):
    return service.get("/readyz").json()["state"]


class Writer(threading.Thread):
    """Changes the configuration and looks at the decisions, again and again, and knows what it was
    told when."""

    def __init__(self, service):
        super().__init__()
        self.service, self.told, self.ended = service, [], False
        self.start()

    def run(self):
        value = 0
        while not self.ended:
            value += 1
            factor = round(0.1 + random.random() * 0.5 + value * 1e-6, 6)
            try:
                assert self.service.post("/config", json={"scale_factor": factor}).ok
                total = self.service.get("/statistics").json()["statistics"]["overview"][
                    "total_decisions"
                ]
                newest = decisions(self.service, 1)
            except OSError:  # it has been killed in the middle
                return
            self.told.append((time.monotonic(), factor, total, newest))
            time.sleep(0.01)


def test_a_kill_at_any_moment_loses_at_most_the_last_second(start, tmp_path):
    arguments = ("--simulate", "--speed", "300", "--data-dir", str(tmp_path / "data"))
    environment = {
        "DRY_RUN": "false",
        "NAMESPACES": NAMESPACES,
        "AUTO_SCALE_INTERVAL": "60",
        "SCALING_COOLDOWN": "0",
        "DECISIONS_KEPT": "5000",
    }
    service = start(*arguments, **environment)
    for _ in range(5):
        writer = Writer(service)
        time.sleep(LOST + COMMIT + random.uniform(0.3, 2))
        killed = time.monotonic()
        service.stop(signal.SIGKILL)
        writer.ended = True
        writer.join()
        service = start(*arguments, **environment)
        certain = [told for told in writer.told if told[0] < killed - LOST - COMMIT]
        possible = {told[1] for told in writer.told[len(certain) - 1 :]}
        assert certain
        assert service.get("/config").json()["scale_factor"] in possible
        _, _, total, newest = certain[-1]
        assert (
            service.get("/statistics").json()["statistics"]["overview"]["total_decisions"] >= total
        )
        same = [
            now for now in decisions(service, 5000) if now["timestamp"] == newest[0]["timestamp"]
        ]
        assert newest[0] in same, (newest[0], same, total, service.get("/statistics").json())
        log = pathlib.Path(service.log).read_text()
        assert (
            "state of an earlier process" in log and "set aside" not in log and "panic" not in log
        )


def test_a_field_that_is_set_otherwise_since_means_what_it_says(start, tmp_path):
    folder = ("--simulate", "--data-dir", str(tmp_path))
    service = start(*folder)
    assert service.post(
        "/config", json={"scale_factor": 0.35, "scaling_cooldown": 7, "dry_run": True}
    ).ok
    assert service.post("/autoscale/stop").ok
    assert service.stop() == 0
    service = start(*folder, SCALING_COOLDOWN="12")
    config = service.get("/config").json()
    assert (config["scale_factor"], config["scaling_cooldown"], config["auto_scale_enabled"]) == (
        0.35,
        12,
        False,
    )
    log = pathlib.Path(service.log).read_text()
    assert "no longer holds" in log and "still holds" in log


@pytest.mark.parametrize("damage", ["garbage", "torn", "flipped", "empty"])
def test_what_is_no_state_is_set_aside(start, tmp_path, damage):
    arguments = ("--simulate", "--speed", "60", "--data-dir", str(tmp_path / "data"))
    file = tmp_path / "data" / "state.redb"
    service = start(*arguments)
    until(lambda: decisions(service), what="a decision")
    assert service.stop() == 0
    content = bytearray(file.read_bytes())
    if damage == "garbage":
        content = bytearray(random.randbytes(100_000))
    elif damage == "torn":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        for at in range(4096, len(content), 64):
            content[at] ^= 0xFF
    else:
        content = bytearray()
    file.write_bytes(content)
    service = start(*arguments)
    assert service.get("/health").ok
    aside = list((tmp_path / "data").glob("state.redb.unreadable-*"))
    assert len(aside) == (damage != "empty")
    if aside:
        assert "set aside" in pathlib.Path(service.log).read_text()
        assert aside[0].read_bytes() == content
    assert (
        until(lambda: state_of(service)["written_at"], what="a new state")
        and not state_of(service)["error"]
    )


def refused(*arguments):
    environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH")}
    command = [
        os.environ["DQN_SCALER"],
        "--simulate",
        "--host",
        "127.0.0.1",
        "--port",
        str(free_port()),
        *arguments,
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1, done.stderr
    return done.stderr


def test_a_folder_that_cannot_be_used_stops_the_start_and_is_named(start, tmp_path):
    folder = str(tmp_path / "data")
    service = start("--simulate", "--data-dir", folder)
    assert "in use by another process" in refused("--data-dir", folder)
    assert service.get("/health").ok
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in refused("--data-dir", str(file))


@pytest.fixture
def small_disk(tmp_path):
    """mount(size) gives a folder that has no more room than that."""
    if os.geteuid() != 0:
        pytest.skip("a disk of its own takes root")
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)], check=True
        )
        return folder

    yield mount
    subprocess.run(["umount", "--lazy", str(folder)], check=False)


def test_a_folder_that_can_only_be_read_stops_the_start(small_disk):
    assert "Read-only file system" in refused("--data-dir", str(small_disk("size=8m", "ro")))


def test_a_full_disk_is_shown_and_the_service_goes_on(start, small_disk):
    folder = small_disk("size=8m")
    filler = folder / "filler"
    service = start(
        "--simulate", "--speed", "300", "--data-dir", str(folder), AUTO_SCALE_INTERVAL="60"
    )
    until(lambda: state_of(service)["written_at"], what="a first write")
    with pytest.raises(OSError), open(filler, "wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    until(lambda: "No space left" in (state_of(service)["error"] or ""), what="the fault")
    before = len(decisions(service))
    until(lambda: len(decisions(service)) > before, what="decisions all the same")
    assert service.post("/config", json={"scale_factor": 0.3}).ok
    filler.unlink()
    until(lambda: not state_of(service)["error"], what="the end of the fault")
    assert service.stop() == 0
    service = start(
        "--simulate", "--speed", "300", "--data-dir", str(folder), AUTO_SCALE_INTERVAL="60"
    )
    assert service.get("/config").json()["scale_factor"] == 0.3
    assert len(decisions(service)) > before
