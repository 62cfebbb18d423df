"""What the scaler asked the API server for, by the audit log: (verb, resource) and whether it was
allowed."""

import json
import os

LOG = os.environ.get("E2E_AUDIT_LOG")
# (from, to) in the log: where a test takes rights away, or an API server begins and knows none yet
EXPECTED_DENIALS = []
WRITES = {"create", "update", "patch", "delete", "deletecollection"}


def events(since=0, ignored=()):
    with open(LOG, "rb") as log:
        log.seek(since)
        position = since
        for line in log:
            begin, position = position, position + len(line)
            if line.endswith(b"\n") and not any(start <= begin < end for start, end in ignored):
                yield json.loads(line)


def now():
    return os.path.getsize(LOG)


def resource_of(event):
    about = event.get("objectRef", {})
    name = about.get("resource", "")
    if "subresource" in about:
        name += f"/{about['subresource']}"
    return about.get("apiGroup", ""), name


def writes(since=0, name=None):
    """The writes since then, on the object of that name or on any: (resource, code). Without
    conflicts, which change nothing: the object is read again and the same is sent."""
    return [
        (resource_of(event)[1], event["responseStatus"]["code"])
        for event in events(since)
        if event["verb"] in WRITES
        and name in (None, event["objectRef"].get("name"))
        and event["responseStatus"]["code"] != 409
    ]


def used():
    """What was asked for, but for the discovery that every account may do."""
    return {(event["verb"], *resource_of(event)) for event in events() if resource_of(event)[1]}


def denied():
    return {
        (event["verb"], *resource_of(event))
        for event in events(ignored=EXPECTED_DENIALS)
        if event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"
    }
