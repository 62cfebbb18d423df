"""The rights that deploy/ grants, against what the scaler asked for in all the tests before: none
too few, none too many."""

import json
import os
import unittest

import audit
from cluster import Cluster
from scaler import ROOT, kubectl


def granted():
    roles = [
        json.loads(kubectl("get", "clusterrole", role, "--output=json"))
        for role in ("dqn-scaler-reader", "dqn-scaler-resizer", "dqn-scaler-kubelets")
    ]
    # The leader's role is there during its own tests only: it is the first object of its file.
    of_leader = kubectl(
        "create",
        "--dry-run=client",
        "--output=json",
        f"--filename={ROOT}/deploy/components/replicated/role.yaml",
    )
    roles.append(json.JSONDecoder().raw_decode(of_leader)[0])
    # So is this one, where there are policies.
    cluster = Cluster()
    minor = cluster.minor
    cluster.close()
    if minor >= 36:
        path = f"{ROOT}/deploy/components/born-right-sized/clusterrole.yaml"
        arguments = ("create", "--dry-run=client", "--output=json", f"--filename={path}")
        roles.append(json.JSONDecoder().raw_decode(kubectl(*arguments))[0])
    for role in roles:
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    # A watch begins with a list, but of its own where the server streams it.
                    yield from (
                        (verb, group, resource)
                        for verb in rule["verbs"]
                        if verb != "list" or "watch" not in rule["verbs"]
                    )


@unittest.skipUnless(
    audit.LOG and os.environ.get("E2E_WHOLE"),
    "takes an audit log, and all the other tests before it",
)
class Rights(unittest.TestCase):
    def test_what_is_asked_for_is_granted(self):
        self.assertEqual(audit.denied(), set())

    def test_what_is_granted_is_asked_for(self):
        # A kubelet asks for this one in the name of its caller: the log has no more than a review.
        of_kubelets = {("get", "", "nodes/metrics")}
        # And what a patch creates is asked for by the API server.
        of_patches = {("create", "", "configmaps")}
        self.assertEqual(set(granted()) - audit.used() - of_kubelets - of_patches, set())
