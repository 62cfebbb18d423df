"""What is decided by container, and what outlives pods, on a real kubelet."""

import time

from case import MIB, ClusterTest
from cluster import NAMESPACE, container, status_of, until
from scaler import Scaler

QUICK = {"auto_scale_enabled": True, "auto_scale_interval": 3, "history_window": 2}
WITHIN = 5  # seconds from a pod's start until it has what its workload needs


class Workloads(ClusterTest):
    def holds(self, name, memory):
        """Whether it holds so many MiB; it is asked to until it does."""
        try:
            self.cluster.load(name, memory=memory)
        except OSError:
            return False
        return True

    def measured(self, name):
        path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods/{name}"
        until(90, f"{name} is measured", lambda: self.cluster.get(path)["containers"], pause=1)

    def names(self, app):
        return {pod["metadata"]["name"] for pod in self.cluster.pods_of(app)}

    def sized(self, name, least):
        """Seconds from the start of the container, as it is seen, until its cgroup allows so
        many bytes."""
        until(60, f"{name} runs", lambda: status_of(self.cluster.pod(name))["state"].get("running"))
        began = time.monotonic()
        until(60, f"{name} is given {least}", lambda: self.cluster.limits(name)[1] >= least)
        return time.monotonic() - began

    def test_new_pods_get_what_their_workload_has_learned(self):
        template = {"memory": 20, "request": ("50m", "64Mi"), "limit": ("200m", "96Mi")}
        kinds, app = self.start("Deployment", **template)
        old = next(iter(self.names(app)))
        with Scaler("workloads", **QUICK) as scaler:
            # It takes what it needs to learn it, kills included.
            grown = lambda: (
                self.holds(old, 150)
                and self.cluster.limits(old)[1] >= 160 * MIB
                and "running" in status_of(self.cluster.pod(old))["state"]
            )
            until(240, "the first pod has learned", grown, pause=2)
            # A raise that the pod's own cgroup does not follow would be doubled without end.
            self.assertLess(self.cluster.limits(old)[1], 600 * MIB)

            def needed():
                known = scaler.get(f"/workloads?search={app}")[1]["workloads"]
                return known and known[0]["containers"][0]["needed"]["memory_limit_mb"] >= 155

            until(60, "that is remembered", needed, pause=1)
            path = self.cluster.path(kinds, app)
            annotations = {"example.test/again": "1"}
            again = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
            self.cluster.patch(path, again)
            new = until(60, "a new pod", lambda: self.names(app) - {old})
            took = [self.sized(next(iter(new)), 155 * MIB)]
            until(60, "the old one is gone", lambda: old not in self.names(app))
            self.cluster.patch(path, {"spec": {"replicas": 2}})
            more = until(60, "one more", lambda: self.names(app) - new)
            took.append(self.sized(next(iter(more)), 155 * MIB))
            for name in new | more:
                self.assertTrue(self.holds(name, 150))
                time.sleep(1)
                self.assertEqual(status_of(self.cluster.pod(name))["restartCount"], 0)
        seconds = " and ".join(f"{one:.1f}" for one in took)
        print(f"sized after {seconds} s, wanted {WITHIN}", end=" ", flush=True)

    def test_after_a_cut_the_request_covers_the_use(self):
        spec = {"cpu": 80, "memory": 60, "request": ("100m", "80Mi"), "limit": ("800m", "640Mi")}
        self.run_pod("spacious", **spec)
        self.measured("spacious")
        settings = {
            **QUICK,
            "scale_factor": 0.5,
            "scaling_cooldown": 0,
            "guard_cpu_window": 60,
            "guard_memory_window": 60,
        }
        with Scaler("requests", **settings):
            until(
                180,
                "its CPU is cut to what it uses",
                lambda: self.cluster.limits("spacious")[0] <= 200,
            )
            if self.cluster.minor >= 34:
                until(
                    120, "its memory, too", lambda: self.cluster.limits("spacious")[1] <= 160 * MIB
                )
        requests = self.cluster.pod("spacious")["spec"]["containers"][0]["resources"]["requests"]
        cpu, memory = requests["cpu"], requests["memory"]
        self.assertGreaterEqual(int(cpu.removesuffix("m")), 80, cpu)
        in_bytes = int(memory[:-2]) * {"Ki": 1 << 10, "Mi": MIB}[memory[-2:]]
        self.assertGreaterEqual(in_bytes, 60 * MIB, memory)
        status = status_of(self.cluster.pod("spacious"))
        self.assertEqual(status["restartCount"], 0)
        print(f"requests {cpu} and {memory}", end=" ", flush=True)

    def test_a_full_sidecar_is_raised_beside_an_idle_main_container(self):
        sidecar = container(
            "proxy",
            cpu=500,
            port=8081,
            request=("50m", "32Mi"),
            limit=("100m", "64Mi"),
            restartPolicy="Always",
        )
        idle = {"request": ("200m", "64Mi"), "limit": ("400m", "128Mi")}
        self.run_pod("lopsided", init=[sidecar], **idle)
        self.measured("lopsided")
        with Scaler("lopsided", **QUICK):
            raised = lambda: self.cluster.limits("lopsided", 8081)[0] >= 400
            until(180, "the sidecar is raised", raised, pause=1)
        app = self.cluster.pod("lopsided")["spec"]["containers"][0]["resources"]["limits"]
        self.assertLessEqual(
            int(app["cpu"].removesuffix("m")), 400, "raised by what it uses itself"
        )
