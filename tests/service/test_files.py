"""Files that are none, have no end, or hold what should not be: the service ends with a word, or
sets them aside, and waits for nothing."""

import json
import os
import struct
import subprocess
import time
import zipfile

import pytest

from conftest import ROOT, free_port, until

MEMORY = 384 << 20  # what the shipped manifest allows


def attempt(arguments=("--simulate",), seconds=20, **environment):
    """The exit code, what was said, and the most memory that a start took which has to fail."""
    command = [os.environ["DQN_SCALER"], "--host", "127.0.0.1", "--port", str(free_port())]
    process = subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peak, end = 0, time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        with open(f"/proc/{process.pid}/status") as status:
            used = [line.split()[1] for line in status if line.startswith("VmHWM")]
        peak = max(peak, int(used[0]) << 10 if used else 0)
        time.sleep(0.01)
    if process.poll() is None:
        process.kill()
        process.communicate()
        pytest.fail(f"it neither began nor ended within {seconds} s")
    return process.returncode, process.communicate()[0], peak


@pytest.fixture
def pipe(tmp_path):
    """Nobody writes to it."""
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


AUTHORITY = """
[ca]
default_ca = own
[own]
new_certs_dir = .
database = index
serial = serial
default_md = sha256
policy = any
x509_extensions = leaf
[any]
commonName = supplied
[leaf]
subjectAltName = DNS:localhost
"""


@pytest.fixture
def key(tmp_path):
    """With its certificate, which has expired."""
    folder = tmp_path / "tls"
    folder.mkdir()
    for name, content in (("ca", AUTHORITY), ("index", ""), ("serial", "01")):
        (folder / name).write_text(content)

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sec1.key")
    openssl("pkcs8", "-topk8", "-nocrypt", "-in", "sec1.key", "-out", "tls.key")
    openssl("req", "-new", "-key", "tls.key", "-subj", "/CN=localhost", "-out", "request")
    period = ("-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
    signed = ("-selfsign", "-keyfile", "tls.key", "-in", "request", "-out", "tls.crt", "-notext")
    openssl("ca", "-batch", "-config", "ca", *signed, *period)
    return {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}


@pytest.mark.parametrize("option", ["MODEL_PATH", "WRITE_TOKEN_FILE", "CONFIG", "TLS_CERT"])
@pytest.mark.parametrize("what", ["pipe", "/dev/zero", "/proc"])
def test_what_is_no_regular_file_is_refused_at_once(option, what, pipe, key):
    path = pipe if what == "pipe" else what
    environment = {option: path}
    if option == "TLS_CERT":
        environment["TLS_KEY"] = key["key"]
    code, said, peak = attempt(**environment)
    assert code == 1 and "Traceback" not in said
    assert "regular file" in said or "directory" in said, said
    assert path in said and peak < MEMORY, (said, peak)


@pytest.mark.parametrize("named", [None, "certificate-authority", "tokenFile"])
def test_a_pipe_beside_the_kubeconfig_is_told_of_and_not_waited_for(start, tmp_path, pipe, named):
    cluster, user = {"server": "http://127.0.0.1:9"}, {}
    if named:
        (cluster if named == "certificate-authority" else user)[named] = "pipe"
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [{"name": "one", "cluster": cluster}],
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
        "users": [{"name": "one", "user": user}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
    path = str(tmp_path / "kubeconfig") if named else pipe
    service = start(IN_CLUSTER="false", KUBECONFIG=path)

    def told():
        with open(service.log) as log:
            return "pipe: not a regular file" in log.read()

    until(told, what="a word of the pipe")
    assert service.stop() == 0


def test_a_file_of_more_than_it_may_hold_is_not_read(tmp_path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(8 << 30)
    for option in ("MODEL_PATH", "WRITE_TOKEN_FILE", "CONFIG"):
        code, said, peak = attempt(**{option: str(large)})
        assert code == 1 and "is larger than" in said and peak < MEMORY, (option, said, peak)


def model(path, value, width):
    """A checkpoint as torch.save writes it, all of whose weights are this value."""
    shapes = {
        "shared_layers.0.weight": (width, 8),
        "shared_layers.0.bias": (width,),
        "cpu_head.0.weight": (3, width),
        "cpu_head.0.bias": (3,),
        "memory_head.0.weight": (3, width),
        "memory_head.0.bias": (3,),
        "prediction_head.0.weight": (2, width),
        "prediction_head.0.bias": (2,),
    }

    def number(value):
        return b"J" + struct.pack("<i", value)

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def row(values):
        return b"(" + b"".join(number(value) for value in values) + b"t"

    def named(module, name):
        return f"c{module}\n{name}\n".encode()

    pickle = b"\x80\x02}("
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for index, (name, shape) in enumerate(shapes.items()):
            count = shape[0] * (shape[1] if len(shape) == 2 else 1)
            stride = (shape[1], 1) if len(shape) == 2 else (1,)
            storage = b"(" + text("storage") + named("torch", "FloatStorage") + text(str(index))
            storage += text("cpu") + number(count) + b"tQ"
            pickle += text(name) + named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage
            pickle += number(0) + row(shape) + row(stride) + b"\x89"
            pickle += named("collections", "OrderedDict") + b"(tRtR"
            file.writestr(f"m/data/{index}", struct.pack("<f", value) * count)
        file.writestr("m/data.pkl", pickle + b"u.")
    return str(path)


def test_a_small_file_does_not_become_a_large_model(tmp_path):
    bomb = model(tmp_path / "bomb.pth", 0.0, 3_000_000)
    assert os.path.getsize(bomb) < 300_000
    code, said, peak = attempt(MODEL_PATH=bomb)
    assert code == 1 and "the model has more than" in said, said
    assert peak < 200 << 20, f"{peak >> 20} MiB"


def test_the_largest_model_that_is_taken_has_room(tmp_path, start):
    most = model(tmp_path / "most.pth", 0.0, 240_000)
    service = start("--simulate", MODEL_PATH=most)
    with open(f"/proc/{service.process.pid}/status") as status:
        peak = [int(line.split()[1]) for line in status if line.startswith("VmHWM")][0]
    assert peak << 10 < MEMORY, f"{peak >> 10} MiB"


@pytest.mark.parametrize("weight", [3e38, float("inf"), float("nan"), -1e20])
def test_weights_beyond_measure_stop_the_start(tmp_path, weight):
    code, said, _ = attempt(MODEL_PATH=model(tmp_path / "huge.pth", weight, 4))
    assert code == 1 and "huge.pth" in said, said
    assert "no sensible answer" in said or "element 0 is" in said, said


def test_an_expired_certificate_is_served_and_told_of(start, key):
    service = start("--simulate", TLS_CERT=key["certificate"], TLS_KEY=key["key"])

    def state():
        return service.get("/readyz", verify=False).json()["certificate"]

    told = until(state, what="a look at the certificate")
    assert told["holds"] is False and told["until"] == "2021-01-01T00:00:00.000Z"
    metrics = service.get("/metrics", verify=False).text
    line = [one for one in metrics.splitlines() if one.startswith("dqn_scaler_certificate_expiry")]
    assert len(line) == 1 and float(line[0].split()[1]) == 1609459200, line
    with open(service.log) as log:
        assert "the certificate has expired" in log.read()


def test_a_state_that_was_cut_short_is_set_aside(start, tmp_path):
    data = tmp_path / "data"
    arguments = ("--simulate", "--data-dir", str(data))
    start(*arguments).stop()
    whole = (data / "state.redb").read_bytes()
    for length in (1, 9, 100, 319, 4096, len(whole) // 2):
        (data / "state.redb").write_bytes(whole[:length])
        service = start(*arguments)
        until(lambda: service.get("/readyz").json()["state"]["written_at"], what="a writing")
        assert service.stop() == 0
    assert len(list(data.glob("state.redb.unreadable-*"))) == 6
