"""The dashboard when all is not as usual: no cluster, no service, another origin, a token,
thousands of pods, a phone, no mouse."""

import contextlib
import functools
import http.server
import json
import pathlib
import random
import re
import signal
import threading

import pytest
import requests
from playwright.sync_api import expect

from conftest import ROOT, free_port, until
from dashboard import PHONE, VIEWS, dashboard, go, settled, toast

CONTRAST = pathlib.Path(__file__).with_name("contrast.js").read_text()


@contextlib.contextmanager
def served(handler):
    """An HTTP server on another port; gives its origin."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Files(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *request):
        super().__init__(*request, directory=ROOT / "src" / "dashboard")

    def log_message(self, *_):
        pass


def test_without_a_cluster_it_says_so_and_how_to_connect(browser, start):
    service = start(KUBECONFIG="/nowhere")
    with dashboard(browser, service.url) as page:
        banner = page.locator(".banner")
        expect(banner).to_contain_text("No cluster is connected")
        expect(banner).to_contain_text("kubectl apply -k deploy/overlays/namespaced")
        expect(banner).to_contain_text("--simulate")
        expect(page.locator(".readable")).to_have_count(0)
        expect(page.locator("main")).to_contain_text("No cycles: no cluster is connected.")
        expect(page.locator(".mode-panel")).to_contain_text("The autoscaler waits for a cluster.")
        page.get_by_role("button", name="Stop autoscaler").click()
        expect(page.get_by_role("button", name="Start autoscaler")).to_be_disabled()
        for view, empty in [
            ("pods", "No pods: no cluster is connected."),
            ("workloads", "No workloads: no cluster is connected."),
            ("decisions", "No decisions: no cluster is connected."),
        ]:
            go(page, view)
            expect(page.locator("main .empty")).to_have_text(empty)
            if view == "pods":
                expect(page.get_by_role("button", name="Scale all now")).to_be_disabled()
        for view in ("configuration", "model"):
            go(page, view)
            settled(page, view)
        expect(banner).to_have_count(1)


def test_a_service_that_is_killed_and_comes_back(browser, start):
    service = start("--simulate", "--speed", "60")
    with dashboard(browser, service.url, "pods", failing=True) as page:
        settled(page, "pods")
        service.stop(signal.SIGKILL)
        banner = page.locator(".banner.gone")
        expect(banner).to_contain_text("The service does not answer")
        expect(banner).to_contain_text("The last answer came")
        expect(banner).to_contain_text(re.compile(r"is from then: \d+ \w+, \d\d:\d\d:\d\d"))
        expect(page.locator(".pods tbody tr").first).to_be_visible()
        page.get_by_role("button", name="Scale all now").click()
        toast(page, "does not answer")
        start("--simulate", "--speed", "60", port=service.port)
        expect(banner).to_have_count(0)
        page.locator("#nav [data-view=overview]").click()
        settled(page, "overview")
        expect(page.locator("html[data-stale]")).to_have_count(0)


def test_a_service_that_hangs_is_told_of_soon(browser, start):
    service = start("--simulate", "--speed", "60")
    with dashboard(browser, service.url, "pods", failing=True) as page:
        settled(page, "pods")
        service.process.send_signal(signal.SIGSTOP)
        banner = page.locator(".banner.gone")
        try:
            expect(banner).to_contain_text(
                re.compile(r"does not answer\..* is from then: \d+ \w+, \d\d:\d\d:\d\d"),
                timeout=25_000,
            )
        finally:
            service.process.send_signal(signal.SIGCONT)
        expect(banner).to_have_count(0, timeout=20_000)


def test_a_page_that_is_opened_before_the_service_runs(browser, start):
    gone = start("--simulate", "--speed", "60")
    with served(Files) as origin:
        gone.stop()
        with dashboard(browser, None, address=f"{origin}/?api={gone.url}", failing=True) as page:
            expect(page.locator(".banner.gone")).to_contain_text(f"{gone.url} does not answer")
            start("--simulate", "--speed", "60", port=gone.port)
            settled(page, "overview")
            expect(page.locator(".banner")).to_have_count(0)


def test_a_page_of_another_origin_works_through_cors(browser, start):
    service = start("--simulate", "--speed", "60", NAMESPACES="default,shop,data,monitoring")
    with (
        served(Files) as origin,
        dashboard(browser, None, address=f"{origin}/?api={service.url}#/overview") as page,
    ):
        for view in VIEWS:
            go(page, view)
            settled(page, view)
        # Writes with a body need a preflight, those without none: both go through.
        go(page, "configuration")
        settled(page, "configuration")
        page.get_by_label("Cooldown").fill("12")
        page.get_by_role("button", name="Save").click()
        toast(page, "Cooldown 30 minutes → 12 minutes")
        assert service.get("/config").json()["scaling_cooldown"] == 12
        go(page, "pods")
        page.get_by_role("button", name="Scale now: postgres-0").click()
        expect(page.get_by_role("dialog", name="postgres-0").locator(".q-values")).to_have_count(2)
        page.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="Scale all now").click()
        toast(page, "29 pods processed")
        assert {url.split("/")[2] for url in page.asked} == {
            origin.split("/")[2],
            service.url.split("/")[2],
        }


def test_a_token_is_asked_for_and_kept_in_the_tab(browser, start, tmp_path):
    token = tmp_path / "token"
    token.write_text("sixteen-characters")
    service = start("--simulate", "--speed", "60", WRITE_TOKEN_FILE=str(token))
    with (
        served(Files) as origin,
        dashboard(browser, None, address=f"{origin}/?api={service.url}", failing=True) as page,
    ):
        settled(page, "overview")
        stop = page.get_by_role("button", name="Stop autoscaler")
        stop.click()
        dialog = page.get_by_role("dialog", name="A token is needed")
        expect(dialog).to_contain_text("A write needs the header Authorization: Bearer TOKEN")
        dialog.get_by_role("button", name="Cancel").click()
        toast(page, "Nothing was changed: the service wants a token for changes.")
        stop.click()
        page.get_by_label("Bearer token").fill("wrong")
        page.get_by_role("button", name="Use it").click()
        expect(dialog).to_contain_text("The service did not accept this token.")
        page.get_by_label("Bearer token").fill("sixteen-characters")
        page.keyboard.press("Enter")
        toast(page, "Auto-scaling stopped")
        assert service.get("/autoscale/status").json()["enabled"] is False
        page.reload()
        page.get_by_role("button", name="Start autoscaler").click()
        toast(page, "Auto-scaling started")
        stored = page.evaluate(
            "[Object.values(sessionStorage), Object.values(localStorage), document.cookie]"
        )
        assert stored == [["sixteen-characters"], [], ""]


def test_a_follower_says_that_it_follows_and_whom(browser, start, tmp_path):
    api = f"127.0.0.1:{free_port()}"
    start("--simulate", "--simulate-listen", api, AUTO_SCALE_ENABLED="false")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": f"http://{api}"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )

    def replica(name, role):
        begun = start(
            KUBECONFIG=str(kubeconfig), LEADER_ELECT="true", POD_NAME=name, AUTO_SCALE_INTERVAL="2"
        )

        def settles():
            answer = begun.get("/readyz")
            told = answer.json()
            return answer.ok and told["role"] == role and told["leader"]

        until(settles, what=f"{name} as {role}")
        return begun

    leader, follower = replica("scaler-0", "leader"), replica("scaler-1", "follower")
    with dashboard(browser, leader.url) as page:
        settled(page, "overview")
        expect(page.locator(".where")).to_contain_text("leader")
        expect(page.locator(".banner")).to_have_count(0)
    with dashboard(browser, follower.url, failing=True) as page:
        expect(page.locator(".banner.follower")).to_contain_text(re.compile(r"scaler-0\S* leads\."))
        page.get_by_role("button", name="Stop autoscaler").click()
        toast(page, "This replica follows and changes nothing: scaler-0")
        go(page, "pods")
        settled(page, "pods")


def test_a_service_that_takes_no_changes_says_so(browser, start):
    service = start("--simulate", "--speed", "60", READ_ONLY="true")
    with dashboard(browser, service.url, failing=True) as page:
        settled(page, "overview")
        expect(page.locator(".banner.read-only")).to_contain_text("The service is read-only")
        page.get_by_role("button", name="Stop autoscaler").click()
        toast(page, "Not allowed: ")
        expect(page.locator(".banner.refused")).to_be_visible()
        go(page, "pods")
        settled(page, "pods")
        expect(page.locator(".banner.refused")).to_contain_text("It can be looked at, not changed")


def forbidden(start, resource, **environment):
    """A service that watches the namespace shop, too, where it may not read these; and the
    simulated cluster's faults."""
    cluster = f"127.0.0.1:{free_port()}"
    faults = f"http://{cluster}/sim/faults"
    simulate = ["--simulate", "--simulate-listen", cluster, "--speed", "60"]
    service = start(*simulate, NAMESPACES="default", **environment)
    rule = {"resource": resource, "namespace": "shop", "effect": {"status": {"code": 403}}}
    rules = [{"verb": verb, **rule} for verb in ("list", "watch")]
    requests.put(faults, json=rules, timeout=10).raise_for_status()
    service.post("/config", json={"namespaces": ["default", "shop"]}).raise_for_status()
    return service, faults


def test_pods_that_are_held_back_for_want_of_a_right(browser, start):
    service, faults = forbidden(start, "horizontalpodautoscalers", DRY_RUN="false")
    with dashboard(browser, service.url) as page:
        banner = page.locator(".banner.unread")
        expect(banner).to_contain_text('lacks the verb "watch" on "horizontalpodautoscalers"')
        held = lambda: (
            "not known whether another autoscaler is at work"
            in str(service.get("/pods/overview?namespace=shop&status=skipped").json()["pods"])
        )
        until(held, what="a pod that would be changed")
        requests.delete(faults, timeout=10).raise_for_status()
        expect(banner).to_have_count(0, timeout=20_000)
        until(lambda: not held(), seconds=60, what="the next decision")


def test_a_namespace_that_cannot_be_read_is_named(browser, start):
    service, faults = forbidden(start, "pods")
    with dashboard(browser, service.url) as page:
        banner = page.locator(".banner.unreadable")
        expect(banner).to_contain_text("shop: ", timeout=20_000)
        go(page, "pods")
        expect(page.locator("main")).to_contain_text("default · Deployment api")
        requests.delete(faults, timeout=10).raise_for_status()
        expect(banner).to_have_count(0, timeout=60_000)


def test_what_is_in_the_way_of_a_pod_is_named_everywhere(browser, start):
    cluster = f"127.0.0.1:{free_port()}"
    service = start(
        "--simulate",
        "--simulate-listen",
        cluster,
        "--speed",
        "60",
        DRY_RUN="false",
        NAMESPACES="default,data",
    )

    def annotate(path, **annotations):
        annotations = {
            f"dqn-scaler.io/{name.replace('_', '-')}": value for name, value in annotations.items()
        }
        kind = {"Content-Type": "application/merge-patch+json"}
        body = json.dumps({"metadata": {"annotations": annotations}})
        requests.patch(
            f"http://{cluster}/apis/apps/v1/namespaces/{path}", data=body, headers=kind, timeout=10
        ).raise_for_status()

    annotate("default/deployments/web", max_cpu="lots")
    annotate("data/statefulsets/kafka", mode="recommend", max_memory="4Gi", controls="requests")
    hpa = {
        "metadata": {"name": "pg-hpa"},
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "postgres"},
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 70},
                    },
                }
            ],
        },
    }
    requests.post(
        f"http://{cluster}/apis/autoscaling/v2/namespaces/data/horizontalpodautoscalers",
        json=hpa,
        timeout=10,
    ).raise_for_status()
    fault = 'on Deployment web, annotation dqn-scaler.io/max-cpu: "lots" is no quantity of cores'
    held = (
        "Recommended only, as the annotation dqn-scaler.io/mode on StatefulSet kafka says: "
        "nothing was changed"
    )
    with dashboard(browser, service.url, "pods") as page:
        row = lambda pod: page.locator(".pods tbody tr", has_text=pod).first.locator(".why")
        expect(row("web-")).to_contain_text(fault, timeout=30_000)
        expect(row("kafka-0")).to_contain_text(held)
        expect(row("kafka-0")).to_contain_text(
            "by annotation: mode recommend, memory of at most 4Gi, requests alone"
        )
        expect(row("kafka-0")).not_to_contain_text("Dry run")
        expect(row("postgres-0")).to_contain_text("cpu left to HorizontalPodAutoscaler pg-hpa")
        page.get_by_role("button", name="Scale now: web-").first.click()
        expect(page.get_by_role("dialog")).to_contain_text(fault)
        page.get_by_role("button", name="Close").click()
        page.locator(".pods tbody tr a", has_text="web-").first.click()
        expect(page.get_by_role("dialog").locator(".why")).to_contain_text(fault)
        page.get_by_role("button", name="Close").click()
        recommended = lambda: service.get("/decisions?pod=data/kafka&status=dry_run").json()[
            "count"
        ]
        until(recommended, seconds=120, what="a recommendation")
        page.goto(f"{service.url}/dashboard#/decisions?pod=data/kafka")
        page.locator(".decisions li:has(.status.dry_run) .row").first.click()
        expect(page.locator(".detail:visible")).to_contain_text(held)


def test_thousands_of_pods_are_paged_by_the_service(browser, start, tmp_path):
    random.seed(1)
    for number in range(2000):
        rows = (
            f"{at},{random.uniform(0.05, 0.6):.3f},{random.uniform(100, 400):.0f}"
            for at in range(0, 3600, 600)
        )
        (tmp_path / f"series-{number:04}.csv").write_text(
            "\n".join(("timestamp_s,cpu_cores,memory_mib", *rows))
        )
    service = start("--simulate", "--simulate-recordings", str(tmp_path), "--speed", "10")
    until(
        lambda: service.get("/pods/overview?status=dry_run&limit=1").json()["found"] > 0,
        what="a first cycle",
    )
    with dashboard(browser, service.url, "pods") as page:
        settled(page, "pods")
        found, rows = page.locator(".found"), page.locator(".pods tbody tr")
        expect(found).to_have_text("1–50 of 2,000 pods")
        assert page.get_by_role("button", name="Previous").is_disabled()
        page.get_by_role("button", name="Next").click()
        expect(found).to_have_text("51–100 of 2,000 pods")
        assert "offset=50" in page.url and rows.count() == 50
        page.get_by_role("button", name="Previous").click()
        expect(found).to_have_text("1–50 of 2,000 pods")
        page.get_by_role("searchbox", name="Search").fill("series-0042")
        expect(rows).to_have_count(1)
        page.get_by_role("searchbox", name="Search").fill("")
        page.locator("thead").get_by_role("button", name="CPU").click()
        expect(page.locator("th[aria-sort=descending]")).to_contain_text("CPU")
        largest = max(
            len(requests.get(url, timeout=30).content)
            for url in page.asked
            if "/pods/overview" in url
        )
        assert largest < 150_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_themes(browser, demo, scheme):
    with dashboard(browser, demo.url, color_scheme=scheme) as page:
        for view in VIEWS:
            go(page, view)
            settled(page, view)
            if view == "decisions":
                page.locator(".row").first.click()
            assert page.evaluate(CONTRAST) == [], view
        go(page, "pods")
        page.get_by_role("link", name="postgres-0").click()
        expect(page.locator("dialog .chart")).to_have_count(2)
        assert page.evaluate(CONTRAST) == []


def test_the_theme_can_be_chosen(browser, demo):
    with dashboard(browser, demo.url) as page:
        ground = functools.partial(page.evaluate, "getComputedStyle(document.body).backgroundColor")
        light = ground()
        for name in ("system", "light", "dark"):
            button = page.get_by_role("button", name=f"Theme: {name}")
            assert (ground() == light) == (name != "dark")
            if name == "dark":
                page.reload()
                assert ground() != light
            button.click()
        expect(page.get_by_role("button", name="Theme: system")).to_be_visible()
        page.emulate_media(color_scheme="dark")
        assert ground() != light


def test_a_phone_shows_all_without_scrolling_sideways(browser, demo):
    with dashboard(browser, demo.url, viewport=PHONE, has_touch=True) as page:
        for view in VIEWS:
            page.locator(f"#nav [data-view={view}]").tap()
            settled(page, view)
            if view == "workloads":
                heads = (
                    page.locator(".rows tbody tr")
                    .first.locator("td")
                    .evaluate_all(
                        "all => all.map(one => getComputedStyle(one, '::before').content)"
                    )
                )
                assert heads == ['"CPU"', '"Memory"', "none", '"Restarts"']
            if view == "decisions":
                page.locator(".row").first.tap()
                expect(page.locator(".detail:visible .q")).to_have_count(6)
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], view
            small = page.locator(
                "button:visible, a:visible, input:visible, select:visible"
            ).evaluate_all(
                "all => all.filter(one => !one.closest('.card-text, p') && !one.matches('.skip')"
                " && one.getBoundingClientRect().height < 24)"
                ".map(one => one.outerHTML.slice(0, 90))"
            )
            assert small == [], view
        page.locator("#nav [data-view=pods]").tap()
        page.get_by_role("link", name="postgres-0").tap()
        expect(page.locator("dialog .chart")).to_have_count(2)
        box = page.locator("dialog").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= PHONE["width"]


def test_a_keyboard_is_enough(browser, start):
    service = start("--simulate", "--speed", "60", NAMESPACES="data")

    with dashboard(browser, service.url) as page:
        settled(page, "overview")

        def tab_to(name):
            for _ in range(80):
                page.keyboard.press("Tab")
                focused = page.evaluate(
                    "(() => { const one = document.activeElement, style = getComputedStyle(one);"
                    " return [one.getAttribute('aria-label') ?? one.labels?.[0]?.textContent"
                    " ?? one.textContent, style.outlineStyle] })()"
                )
                assert focused[1] != "none", f"{focused[0]}: the focus cannot be seen"
                if focused[0].strip() == name:
                    return
            raise AssertionError(f"{name} cannot be reached")

        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        tab_to("Stop autoscaler")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Start autoscaler")).to_be_focused()
        page.keyboard.press("Space")
        expect(page.get_by_role("button", name="Stop autoscaler")).to_be_focused()
        page.locator(".skip").focus()
        tab_to("Pods")
        page.keyboard.press("Enter")
        settled(page, "pods")
        tab_to("Search")
        page.keyboard.type("postgres")
        expect(page.locator(".pods tbody tr")).to_have_count(2)
        tab_to("Scale now: postgres-1")
        # The rows are refreshed under the focus, which stays.
        page.wait_for_timeout(3500)
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="postgres-1")
        expect(dialog).to_be_visible()
        tab_to("Close")
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Scale now: postgres-1")).to_be_focused()
        page.locator(".skip").focus()
        tab_to("Configuration")
        page.keyboard.press("Enter")
        settled(page, "configuration")
        tab_to("Dry run")
        page.keyboard.press("Space")
        tab_to("Save")
        page.keyboard.press("Enter")
        expect(
            page.get_by_role("dialog", name="Switch dry run off?").get_by_role(
                "button", name="Cancel"
            )
        ).to_be_focused()
        tab_to("Go live")
        page.keyboard.press("Enter")
        until(
            lambda: service.get("/config").json()["dry_run"] is False, what="the end of the dry run"
        )


def test_everything_has_a_name(browser, demo):
    with dashboard(browser, demo.url) as page:
        for view in VIEWS:
            go(page, view)
            settled(page, view)
            nameless = page.locator(
                "button, a, input, select, textarea, [role=img], [role=group]"
            ).evaluate_all(
                "all => all.filter(one => !(one.getAttribute('aria-label')"
                " || one.textContent.trim() && !one.matches('textarea, select')"
                " || one.labels?.length)).map(one => one.outerHTML.slice(0, 90))"
            )
            assert nameless == [], view
            assert page.locator("h1").count() == 1
