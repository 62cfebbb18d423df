"""New pods are made by the API server with what their workload has settled on."""

import json
import time

from case import ClusterTest
from cluster import IMAGE, NAMESPACE, Refused, millicores, resources, status_of, until, workload
from scaler import ROOT, Scaler, kubectl

COMPONENT = f"{ROOT}/deploy/components/born-right-sized"
POLICY = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
NAME = "dqn-scaler-sizes"
TEMPLATE = resources(("300m", "128Mi"), ("600m", "256Mi"))
SMALL = resources(("50m", "48Mi"), ("100m", "96Mi"))
SPEC = {"request": ("300m", "128Mi"), "limit": ("600m", "256Mi")}
# The API server asks for no ConfigMaps any more once no policy has asked for any for a second, and
# does not begin again before it is restarted (kubernetes/kubernetes#130887): this one, for nothing
# at all, outlives the policy.
BESIDE = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: beside}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  failurePolicy: Ignore
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
    - {apiGroups: [none.invalid], apiVersions: [v1], operations: [CREATE], resources: [nothing]}
  mutations:
  - {patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{}"}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: beside}
spec:
  policyName: beside
  paramRef: {name: none, parameterNotFoundAction: Allow}
"""
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}"


def figures(of, separator):
    return separator.join(
        of.get(kind, {}).get(name, "")
        for kind in ("requests", "limits")
        for name in ("cpu", "memory")
    )


def entry(size, template=TEMPLATE, image=IMAGE, least=("", "")):
    return "|".join([image, figures(template, ","), figures(size, "|"), *least])


class BornRightSized(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if cls.cluster.minor < 36:
            return
        kubectl("apply", f"--filename={COMPONENT}/clusterrole.yaml")
        cls.addClassCleanup(kubectl, "delete", f"--filename={COMPONENT}/clusterrole.yaml")
        kubectl("apply", "--filename=-", input=BESIDE)
        cls.addClassCleanup(kubectl, "delete", "--filename=-", input=BESIDE)
        cls.add_policy()
        cls.addClassCleanup(kubectl, "delete", "--ignore-not-found", f"-f{COMPONENT}/policy.yaml")

    @classmethod
    def add_policy(cls):
        kubectl("apply", f"--filename={COMPONENT}/policy.yaml")

    def setUp(self):
        self.needs(36, "there is no MutatingAdmissionPolicy: pods are resized once they run")
        self.addCleanup(self.forget)

    def forget(self):
        kubectl("delete", "configmap", NAME, f"--namespace={NAMESPACE}", "--ignore-not-found")

    def sizes(self):
        try:
            return self.cluster.get(self.cluster.path("configmaps", NAME)).get("data", {})
        except Refused as error:
            if error.code == 404:
                return None
            raise

    def put(self, **entries):
        """What the leader would write; it is there once a new pod is made by it."""
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}}
        manifest["data"] = {**entries, "apps_ReplicaSet_probe__app": entry(SMALL)}
        kubectl("apply", f"--namespace={NAMESPACE}", "--filename=-", input=json.dumps(manifest))
        until(30, "the policy is in force", lambda: self.probe() == SMALL, pause=0.1)

    def probe(self):
        """What a new pod would get, without making it."""
        manifest = workload("Deployment", "probe", **SPEC)["spec"]["template"]
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "probe", "uid": "none"}
        references = [{**owner, "controller": True}]
        metadata = {"name": "probe", "ownerReferences": references}
        pod = {**manifest, "apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        made = self.cluster.call("POST", self.cluster.path("pods") + "?dryRun=All", pod)
        return made["spec"]["containers"][0]["resources"]

    def made(self, app, other_than=()):
        """The newest pod, as it was made."""

        def new():
            pods = self.cluster.pods_of(app)
            return [pod for pod in pods if pod["metadata"]["name"] not in other_than]

        return until(60, f"a new pod of {app}", new)[0]

    def assert_born(self, pod, wanted=SMALL):
        self.assertEqual(pod["spec"]["containers"][0]["resources"], wanted, pod["metadata"])
        born = pod["metadata"].get("annotations", {}).get("dqn-scaler.io/born")
        expected = "app=" + figures(TEMPLATE, ",")
        self.assertEqual(born, expected if wanted != TEMPLATE else None)

    def names(self, app):
        return {pod["metadata"]["name"] for pod in self.cluster.pods_of(app)}

    def test_deployment_at_rollout_scale_out_eviction_and_drain(self):
        kinds, app = self.start("Deployment", **SPEC)
        path, old = self.cluster.path(kinds, app), self.names(app)
        self.assert_born(self.made(app), TEMPLATE)
        self.put(apps_Deployment_deployment__app=entry(SMALL, least=("200m", "100Mi")))

        kubectl("rollout", "restart", "deployment", app, f"--namespace={NAMESPACE}")
        self.assert_born(self.made(app, old))
        self.wait_ready(kinds, app, SMALL)
        first = self.names(app)
        self.cluster.patch(path, {"spec": {"replicas": 2}})
        self.assert_born(self.made(app, first))
        self.wait_ready(kinds, app, SMALL)

        evicted = sorted(self.names(app))[0]
        before = self.names(app)
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": evicted}}
        self.cluster.call("POST", self.cluster.path("pods", evicted) + "/eviction", eviction)
        self.assert_born(self.made(app, before))
        node = self.cluster.pod(sorted(before)[1])["spec"]["nodeName"]
        self.addCleanup(kubectl, "uncordon", node)
        before = self.names(app)
        kubectl("drain", node, f"--pod-selector=app={app}", "--force", "--timeout=60s")
        kubectl("uncordon", node)
        self.assert_born(self.made(app, before))
        self.wait_ready(kinds, app, SMALL)
        for name in self.names(app):
            self.cluster.answers(name)
            self.assertEqual(self.cluster.limits(name), (100, 96 << 20), "as the kernel has it")

        # Another template is not cut, and raised to what protects.
        before = self.names(app)
        other = resources(("300m", "64Mi"), ("600m", "80Mi"))
        container = {"name": "app", "resources": other}
        self.cluster.patch(path, {"spec": {"template": {"spec": {"containers": [container]}}}})
        new = self.made(app, before)["spec"]["containers"][0]["resources"]
        self.assertEqual(new, resources(("300m", "64Mi"), ("600m", "100Mi")))

    def test_stateful_set_by_pod_and_a_new_one_by_all(self):
        kinds, app = self.start("StatefulSet", **SPEC)
        large = resources(("60m", "64Mi"), ("120m", "128Mi"))
        self.put(
            **{
                "apps_StatefulSet_statefulset_statefulset-0_app": entry(SMALL),
                "apps_StatefulSet_statefulset__app": entry(large),
            }
        )
        uid = self.cluster.pod("statefulset-0")["metadata"]["uid"]
        self.cluster.delete("pods", "statefulset-0")
        anew = lambda: self.cluster.pod("statefulset-0")["metadata"]["uid"] != uid
        until(60, "it is made anew", anew)
        self.assert_born(self.cluster.pod("statefulset-0"))
        self.cluster.patch(self.cluster.path(kinds, app), {"spec": {"replicas": 2}})
        self.assert_born(self.made(app, {"statefulset-0"}), large)

    def test_daemon_set_on_a_new_node(self):
        _, app = self.start("DaemonSet", **SPEC)
        self.put(apps_DaemonSet_daemonset__app=entry(SMALL))
        old = self.names(app)
        # Nothing runs on it, which is no matter to whoever makes its pod.
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "new-node"}}
        self.cluster.call("POST", "/api/v1/nodes", node)
        self.addCleanup(self.cluster.call, "DELETE", "/api/v1/nodes/new-node")
        pod = self.made(app, old)
        self.addCleanup(
            kubectl,
            "delete",
            "pod",
            pod["metadata"]["name"],
            f"--namespace={NAMESPACE}",
            "--force",
            "--grace-period=0",
            "--ignore-not-found",
        )
        self.assert_born(pod)

    def test_the_next_run_of_a_cron_job(self):
        template = workload("Deployment", "nightly", **SPEC)["spec"]["template"]
        template["spec"]["restartPolicy"] = "Never"
        spec = {"schedule": "0 0 1 2 *", "jobTemplate": {"spec": {"template": template}}}
        manifest = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}}
        self.cluster.call("POST", f"{JOBS}/cronjobs", {**manifest, "spec": spec})
        self.addCleanup(until, 60, "its pods are gone", lambda: not self.names("nightly"))
        for job in ("cronjobs/nightly", "jobs/nightly-29000000"):
            path = f"{JOBS}/{job}?propagationPolicy=Background"
            self.addCleanup(self.cluster.call, "DELETE", path)
        self.put(batch_CronJob_nightly__app=entry(SMALL))
        # As the controller names it.
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "nightly-29000000"}}
        self.cluster.call("POST", f"{JOBS}/jobs", {**job, **spec["jobTemplate"]})
        self.assert_born(self.made("nightly"))

    def test_a_pod_fits_that_would_not_have_fitted_as_its_template_has_it(self):
        kinds, app = self.start("Deployment", **SPEC)
        node = self.made(app)["spec"]["nodeName"]
        free = self.cluster.free_millicores(node)
        self.run_pod("filler", request=(f"{free - 100}m", "16Mi"), limit=(f"{free}m", "64Mi"))
        self.assertLess(self.cluster.free_millicores(node), millicores("300m"))
        self.put(apps_Deployment_deployment__app=entry(SMALL))
        old = self.names(app)
        self.cluster.patch(self.cluster.path(kinds, app), {"spec": {"replicas": 2}})
        new = self.made(app, old)["metadata"]["name"]
        until(30, "it runs", lambda: status_of(self.cluster.pod(new))["state"].get("running"))

    def test_whatever_is_broken_or_gone_pods_are_made_as_their_template_has_them(self):
        kinds, app = self.start("Deployment", **SPEC)
        key, image, template = "apps_Deployment_deployment__app", IMAGE, figures(TEMPLATE, ",")

        def again(wanted):
            old = self.names(app)
            kubectl(
                "delete",
                "pods",
                f"--selector=app={app}",
                "--wait=false",
                f"--namespace={NAMESPACE}",
            )
            self.assert_born(self.made(app, old), wanted)

        for broken in (
            "",
            "nonsense",
            f"{image}|{template}|1|2|3",
            f"{image}|{template}|-1|48Mi|100m|96Mi||",
            f"{image}|{template}|50m|48Mi|many|96Mi||",
            f"{image}|{template}|200m|48Mi|100m|96Mi||",
        ):
            self.put(**{key: broken})
            again(TEMPLATE)
        self.put(**{key: entry(SMALL)})
        again(SMALL)
        self.forget()
        again(TEMPLATE)
        self.put(**{key: entry(SMALL)})
        kubectl("delete", f"--filename={COMPONENT}/policy.yaml")
        self.addCleanup(self.add_policy)
        until(30, "the policy is forgotten", lambda: self.probe() == TEMPLATE)
        again(TEMPLATE)

    def test_the_leader_keeps_what_its_workloads_have_and_cleans_up(self):
        kinds, app = self.start("Deployment", **SPEC)
        first = next(iter(self.names(app)))
        key = "apps_Deployment_deployment__app"
        settings = {"auto_scale_enabled": True, "auto_scale_interval": 2, "min_cpu": 0.7}
        with Scaler("born", born_right_sized=True, scaling_cooldown=1000, **settings) as scaler:
            known = lambda: scaler.get(f"/workloads?search={app}")[1]["workloads"]
            until(30, "its template is known", known)
            large = resources(("350m", "160Mi"), ("700m", "320Mi"))
            code, answer = scaler.resize(first, {"app": large})
            self.assertEqual(code, 200, answer)
            kept = lambda: "320Mi" in (self.sizes() or {}).get(key, "")
            until(60, "it is kept", kept, pause=0.5)
            self.assertEqual(self.sizes()[key].split("|")[:2], [IMAGE, figures(TEMPLATE, ",")])
            owner = self.cluster.get(self.cluster.path("configmaps", NAME))["metadata"]
            policy = self.cluster.get(f"{POLICY}/dqn-scaler-born-right-sized")["metadata"]
            self.assertEqual(owner["ownerReferences"][0]["uid"], policy["uid"])
            self.cluster.patch(self.cluster.path(kinds, app), {"spec": {"replicas": 2}})
            self.assert_born(self.made(app, {first}), large)

            self.assertEqual(scaler.post("/config", {"dry_run": True})[0], 200)
            until(30, "a dry run has none", lambda: self.sizes() is None, pause=0.5)
            self.assertEqual(scaler.post("/config", {"dry_run": False})[0], 200)
            until(30, "it is kept again", kept, pause=0.5)
            kubectl("delete", f"--filename={COMPONENT}/policy.yaml")
            self.addCleanup(self.add_policy)
            until(30, "it goes with the policy", lambda: self.sizes() is None, pause=0.5)
            time.sleep(12)
            self.assertIsNone(self.sizes(), "and stays away")
