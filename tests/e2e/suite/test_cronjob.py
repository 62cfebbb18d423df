"""The runs of a CronJob are lives of one workload."""

from case import ClusterTest
from cluster import NAMESPACE, until, workload
from scaler import Scaler

JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}"


class CronJob(ClusterTest):
    def test_two_runs_share_one_memory(self):
        template = workload("Deployment", "nightly")["spec"]["template"]
        template["spec"]["restartPolicy"] = "Never"
        # Nobody waits for the first of February.
        spec = {"schedule": "0 0 1 2 *", "jobTemplate": {"spec": {"template": template}}}
        metadata = {"name": "nightly"}
        self.addCleanup(until, 60, "its pods are gone", lambda: not self.cluster.pods_of("nightly"))
        manifest = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}
        nightly = self.cluster.call("POST", f"{JOBS}/cronjobs", manifest)
        self.addCleanup(
            self.cluster.call, "DELETE", f"{JOBS}/cronjobs/nightly?propagationPolicy=Background"
        )
        reference = {
            **{key: manifest[key] for key in ("apiVersion", "kind")},
            **{key: nightly["metadata"][key] for key in ("name", "uid")},
            "controller": True,
        }
        for run in ("nightly-1", "nightly-2"):
            metadata = {"name": run, "ownerReferences": [reference]}
            job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
            self.cluster.call("POST", f"{JOBS}/jobs", {**job, **spec["jobTemplate"]})
        with Scaler("cronjob") as scaler:

            def remembered():
                assert scaler.post("/scale/all")[0] == 200
                return scaler.get("/workloads?search=nightly")[1]["workloads"]

            until(60, "both runs are seen", lambda: [w["pods"] for w in remembered()] == [2])
            known = remembered()[0]
            self.assertEqual((known["kind"], known["name"]), ("CronJob", "nightly"))
