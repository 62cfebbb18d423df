"""A week of a made-up cluster in a real Prometheus: what cAdvisor and kube-state-metrics would have
told."""

import math
import subprocess

import requests

MINUTE, HOUR, DAY = 60, 3600, 86400
MIB = 2**20
# Between two scrapes; what hardly ever changes is told less often. More would only take longer.
SCRAPE, SELDOM = 2 * MINUTE, 4 * MINUTE


class Container:
    """One container of a pod that was there from `begin` to `end`, in seconds since the epoch."""

    def __init__(self, pod, name, begin, end, cpu, memory, limits=("", ""), kills=(), throttled=0):
        self.namespace, self.pod = pod.split("/")
        self.name, self.begin, self.end = name, begin, end
        self.cpu, self.memory, self.limits = cpu, memory, limits
        self.kills, self.throttled = kills, throttled

    def labels(self, **more):
        names = {"namespace": self.namespace, "pod": self.pod, "container": self.name} | more
        return "{" + ",".join(f'{name}="{value}"' for name, value in names.items()) + "}"

    def samples(self):
        """Names of series, labels, values and times."""
        used, periods = 0.0, 0
        for at in range(self.begin, self.end, SCRAPE):
            used += SCRAPE * self.cpu(at)
            periods += SCRAPE * 10
            yield "container_cpu_usage_seconds_total", {}, used, at
            yield "container_memory_working_set_bytes", {}, self.memory(at) * MIB, at
            if self.throttled:
                name = "container_cpu_cfs_throttled_periods_total"
                yield name, {}, self.throttled * periods, at
                yield "container_cpu_cfs_periods_total", {}, periods, at
        for at in range(self.begin, self.end, SELDOM):
            yield "container_start_time_seconds", {}, self.begin, at
            for kind, share in [("limits", 1.0), ("requests", 0.5)]:
                for resource, limit in zip(["cpu", "memory"], self.limits, strict=True):
                    if limit:
                        name = f"kube_pod_container_resource_{kind}"
                        yield name, {"resource": resource}, share * limit, at
            ended = [kill for kill in self.kills if kill <= at]
            if self.kills:
                yield "kube_pod_container_status_restarts_total", {}, len(ended), at
            if ended:
                name = "kube_pod_container_status_last_terminated_reason"
                yield name, {"reason": "OOMKilled"}, 1, at


def cluster(now):
    """A database with bursts, a Deployment after a rollout, and one that was killed yesterday."""
    begin = now - 7 * DAY

    def burst(at):
        return (at - begin) % (6 * HOUR) < 10 * MINUTE

    def wave(at):
        return 0.5 - 0.5 * math.cos(2 * math.pi * (at % DAY) / DAY)

    yield Container(
        "data/postgres-0",
        "postgres",
        begin,
        now,
        lambda at: 1.7 if burst(at) else 0.6,
        lambda at: 1900 if burst(at) else 1500,
        limits=(4, 8192 * MIB),
        throttled=0.2,
    )
    rollout = begin + 4 * DAY
    for pod, first, last in [
        ("shop/cart-6c7d9f6b5d-bb2b2", begin, rollout),
        ("shop/cart-6c7d9f6b5d-cc4c4", begin, rollout),
        ("shop/cart-7f8b4d9c6-dd5d5", rollout, now),
        ("shop/cart-7f8b4d9c6-ff6f6", rollout, now),
    ]:
        cpu, memory = lambda at: 1 + 2 * wave(at), lambda _: 1500
        yield Container(pod, "cart", first, last, cpu, memory, limits=(6, 4096 * MIB))
        yield Container(pod, "proxy", first, last, lambda _: 0.01, lambda _: 30)
    kill = now - DAY
    yield Container(
        "data/kafka-0",
        "kafka",
        begin,
        now,
        lambda _: 0.2,
        lambda at: 2000 + 3000 * ((at - kill) % DAY) / DAY,
        limits=(0.5, 5120 * MIB),
        kills=(kill,),
    )
    # Too short a life to tell anything.
    yield Container("shop/once-x4x4x", "once", now - HOUR, now, lambda _: 0.3, lambda _: 60)


def days(now):
    """The samples of a day as lines of `name{labels} value time`, day by day."""
    found = {}
    for container in cluster(now):
        for name, labels, value, at in container.samples():
            series = found.setdefault(at // DAY, {}).setdefault(name, {})
            series.setdefault(container.labels(**labels), []).append((at, value))
    for series in found.values():
        yield (
            (f"{name}{labels}", value, at)
            for name, of_name in series.items()
            for labels, samples in of_name.items()
            for at, value in samples
        )


def write(folder, now):
    """The blocks of a Prometheus that has scraped all of it."""
    blocks, text = folder / "data", folder / "day.openmetrics"
    # Day by day, as promtool reads a file once for each block that it makes of it.
    for samples in days(now):
        with open(text, "w") as file:
            file.writelines(f"{series} {value} {at}\n" for series, value, at in samples)
            file.write("# EOF\n")
        arguments = ["create-blocks-from", "openmetrics", "--quiet", text, blocks]
        subprocess.run(["promtool", "tsdb", *arguments], check=True, timeout=120)
    return blocks


def send(url, now):
    """All of it to a VictoriaMetrics, which takes lines with milliseconds."""
    for samples in days(now):
        text = "".join(f"{series} {value} {at * 1000}\n" for series, value, at in samples)
        requests.post(f"{url}/api/v1/import/prometheus", data=text, timeout=120).raise_for_status()
    requests.get(f"{url}/internal/force_flush", timeout=60).raise_for_status()
