"""The OpenAPI document holds for the running service, whatever a client made from it sends."""

import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
CHECKS = (
    "not_a_server_error,status_code_conformance,"
    "content_type_conformance,response_schema_conformance"
)


def test_what_a_client_can_send_is_answered_as_documented(start, tmp_path):
    service = start(
        "--simulate", "--speed", "60", DRY_RUN="false", NAMESPACES="default,shop,data,monitoring"
    )
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{service.url}/openapi.json",
            "--checks",
            CHECKS,
            "--seed",
            "1",
            "--generation-deterministic",
            "--max-examples",
            "25",
            "--phases",
            "examples,coverage,fuzzing",
            "--continue-on-failure",
            "--request-timeout",
            "20",
            "--no-color",
        ],
        env=os.environ
        | {
            "SERVICE": service.url,
            "SCHEMATHESIS_HOOKS": "openapi_hooks",
            "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], str(HERE)]),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, (
        run.stdout[-20000:] + run.stderr + pathlib.Path(service.log).read_text()[-4000:]
    )
    operations = service.get("/openapi.json").json()["paths"].values()
    tested = re.search(r"Operations: +(\d+) selected / (\d+) total", run.stdout)
    assert tested and int(tested[1]) == int(tested[2]) == sum(map(len, operations)), run.stdout
