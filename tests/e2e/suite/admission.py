"""Rules of an administrator's that admission holds every resize of the namespace against."""

import contextlib

from cluster import NAMESPACE, Refused, until

NAME = f"{NAMESPACE}-ration"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"


def quota(cluster, **hard):
    """All pods together may have no more."""
    named = {name.replace("_", "."): amount for name, amount in hard.items()}
    return {cluster.path("resourcequotas"): {"hard": named}}


def limit_range(cluster, **bounds):
    """Each container must stay within these."""
    return {cluster.path("limitranges"): {"limits": [{"type": "Container", **bounds}]}}


def policy(cluster, cpu, **more):
    """No container may have more CPU: as a ValidatingAdmissionPolicy."""
    within = f"quantity(c.resources.limits['cpu']).compareTo(quantity('{cpu}')) <= 0"
    resized = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["pods/resize"],
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
    return {
        POLICIES: {
            "matchConstraints": {"resourceRules": [resized]},
            "validations": [
                {
                    "expression": f"object.spec.containers.all(c, {within})",
                    "message": f"no more than {cpu} for anybody",
                    **more,
                }
            ],
        },
        BINDINGS: {
            "policyName": NAME,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": here},
        },
    }


@contextlib.contextmanager
def in_force(cluster, rule, pod, refused):
    """The rule, from when it refuses these resources to the pod; and then no more."""
    patch = {"spec": {"containers": [{"name": "app", "resources": refused}]}}

    def heeded():
        try:
            cluster.patch(cluster.path("pods", pod) + "/resize?dryRun=All", patch)
        except Refused as error:
            return "is forbidden" in error.message

    with contextlib.ExitStack() as removals:
        for path, spec in rule.items():
            removals.callback(cluster.call, "DELETE", f"{path}/{NAME}")
            cluster.call("POST", path, {"metadata": {"name": NAME}, "spec": spec})
        until(60, f"{rule} is heeded", heeded)
        yield
    until(60, f"{rule} is forgotten", lambda: not heeded())
