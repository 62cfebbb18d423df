"""What `kubectl` tells of resizes, by events that the shipped rights allow."""

from case import ScalerTest
from cluster import NAMESPACE, resources, until
from scaler import kubectl

MORE_THAN_ANY_NODE_HAS = resources(("64", "64Mi"), ("64", "128Mi"))


class Events(ScalerTest):
    def described(self, kind, name):
        """The scaler's lines of `kubectl describe`: (type, reason, age, message)."""
        shown = kubectl("describe", kind, name, f"--namespace={NAMESPACE}")
        lines = shown.partition("\nEvents:")[2].splitlines()
        parted = [[part.strip() for part in line.split("  ") if part.strip()] for line in lines]
        return [
            (type_, reason, age, message)
            for type_, reason, age, source, message in filter(lambda p: len(p) == 5, parted)
            if source == "dqn-scaler"
        ]

    def tells(self, kind, name, *expected):
        """(type, reason, times, beginning of the message), in any order."""

        def told():
            found = self.described(kind, name)
            return len(found) == len(expected) and all(
                any(
                    (type_, reason) == line[:2]
                    and line[3].startswith(message)
                    and (f"(x{times} over" in line[2]) == (times > 1)
                    for line in found
                )
                for type_, reason, times, message in expected
            )

        try:
            until(20, f"{kind} {name} tells {expected}", told)
        except AssertionError as error:
            raise AssertionError(f"{error}, but {self.described(kind, name)}") from None

    def test_describe_tells_the_story(self):
        _, deployment = self.start("Deployment")
        name = self.cluster.pods_of(deployment)[0]["metadata"]["name"]
        for cpu in ("300m", "250m", "300m", "250m", "300m"):
            code, answer = self.scaler.resize(name, {"app": {"limits": {"cpu": cpu}}})
            self.assertEqual(code, 200, answer)
        why = "a client of the API asked for it"
        self.tells(
            "pod",
            name,
            ("Normal", "Resized", 1, f"cpu 200m -> 300m: {why}"),
            ("Normal", "Resized", 2, f"cpu 300m -> 250m: {why}"),
            ("Normal", "Resized", 2, f"cpu 250m -> 300m: {why}"),
        )
        self.tells(
            "deployment",
            deployment,
            ("Normal", "Resized", 5, f"Pod {name}: cpu 250m -> 300m: {why}"),
        )

        code, answer = self.scaler.resize(name, {"app": MORE_THAN_ANY_NODE_HAS}, fallback=False)
        self.assertEqual(code, 400, answer)
        failed = "cpu 300m -> 64: "
        for kind, about, message in [
            ("pod", name, failed),
            ("deployment", deployment, f"Pod {name}: {failed}"),
        ]:
            line = until(
                20,
                f"{kind} {about} tells of the failure",
                lambda: next(
                    (line for line in self.described(kind, about) if line[1] == "ResizeFailed"),
                    None,
                ),
            )
            self.assertEqual(line[0], "Warning")
            self.assertTrue(line[3].startswith(message) and self.cluster.too_small in line[3], line)

        shown = kubectl(
            "get",
            "events",
            f"--namespace={NAMESPACE}",
            "--field-selector=source=dqn-scaler,type=Warning,reason=ResizeFailed",
        )
        self.assertIn(f"pod/{name}", shown)
        self.assertIn(f"deployment/{deployment}", shown)

    def test_fallback(self):
        _, name = self.start("StatefulSet")
        pod = self.cluster.pods_of(name)[0]["metadata"]["name"]
        guaranteed = resources(("220m", "96Mi"), ("220m", "96Mi"))
        code, answer = self.scaler.resize(pod, {"app": guaranteed})
        self.assertEqual((code, answer.get("scaling_method")), (200, "deployment_update"), answer)
        self.tells(
            "statefulset",
            name,
            (
                "Warning",
                "ResizeFellBack",
                1,
                f"Pod {pod}: cpu 200m -> 220m, memory 128Mi -> 96Mi: written into the template of "
                f"StatefulSet {name}, which replaces its pods: ",
            ),
        )
