"""Every view of the dashboard and every button of it, in a browser, against the running binary on
the simulated cluster."""

import re

import pytest
import requests
from playwright.sync_api import expect

from conftest import free_port, until
from dashboard import VIEWS, buttons, dashboard, go, settled, toast


@pytest.fixture
def live(start):
    service = start(
        "--simulate", "--speed", "60", DRY_RUN="false", NAMESPACES="default,shop,data,monitoring"
    )
    until(
        lambda: service.get("/decisions?applied=true").json()["count"] > 5, what="applied changes"
    )
    return service


def test_the_overview_tells_what_the_statistics_tell(browser, demo):
    with dashboard(browser, demo.url) as page:
        settled(page, "overview")
        overview = demo.get("/statistics").json()["statistics"]["overview"]
        facts = page.locator(".facts > div")
        shown = {
            fact.locator("dt").inner_text(): fact.locator("dd").inner_text() for fact in facts.all()
        }
        assert list(shown) == [
            "Decisions",
            "Pods monitored",
            "Changes applied",
            "Changes in a hundred decisions",
        ]
        assert int(shown["Pods monitored"]) == overview["total_pods_monitored"]
        assert 0 < int(shown["Decisions"].replace(",", "")) <= overview["total_decisions"]
        expect(page.locator(".mode-word")).to_have_text("Live")
        expect(page.locator(".distribution")).to_have_count(2)
        chart = page.locator(".readable", has=page.locator("rect"))
        for kind in ("success", "skipped"):
            expect(chart.locator(f"rect.{kind}").first).to_be_visible(timeout=20_000)
        chart.hover()
        expect(chart.locator(".readout")).to_contain_text(
            re.compile(r"\d\d:\d\d:\d\d: \d+ (applied|skipped|no change)")
        )
        changes = page.locator(".change")
        expect(changes).to_have_count(8)
        expect(changes.first).to_contain_text("→")
        # It lives: the count grows while one looks.
        expect(facts.first.locator("dd")).not_to_have_text(shown["Decisions"])


def test_the_switches_of_the_overview(browser, live):
    def dry():
        return live.get("/config").json()["dry_run"]

    def enabled():
        return live.get("/autoscale/status").json()["enabled"]

    with dashboard(browser, live.url) as page:
        settled(page, "overview")
        assert buttons(page) == {"Back to dry run", "Stop autoscaler"}
        page.get_by_role("button", name="Back to dry run").click()
        expect(page.locator(".mode-word")).to_have_text("Dry run")
        toast(page, "nothing is changed any more")
        assert dry()
        for answer, is_dry in [("Cancel", True), ("Close", True), ("Go live", False)]:
            page.get_by_role("button", name="Go live…").click()
            dialog = page.get_by_role("dialog", name="Switch dry run off?")
            expect(dialog).to_contain_text("default, shop, data, monitoring")
            assert buttons(page) >= {"Close", "Cancel", "Go live"}
            dialog.get_by_role("button", name=answer, exact=True).click()
            expect(page.locator("dialog")).to_have_count(0)
            expect(page.locator(".mode-word")).to_have_text("Dry run" if is_dry else "Live")
            assert dry() == is_dry
        page.get_by_role("button", name="Stop autoscaler").click()
        toast(page, "Auto-scaling stopped")
        expect(page.locator(".mode-panel")).to_contain_text("The autoscaler is stopped.")
        assert not enabled()
        page.get_by_role("button", name="Start autoscaler").click()
        toast(page, "Auto-scaling started")
        expect(page.get_by_role("button", name="Stop autoscaler")).to_be_visible()
        assert enabled()
        page.get_by_role("link", name="All decisions").click()
        settled(page, "decisions")


def test_pods_are_searched_sorted_and_scaled(browser, live):
    with dashboard(browser, live.url, "pods") as page:
        settled(page, "pods")
        rows = page.locator(".pods tbody tr")
        assert buttons(page) == {
            "Scale all now",
            "Pod↑",
            "CPU",
            "Memory",
            "Last decision",
            "Scale now: POD",
            "Previous",
            "Next",
        }
        expect(rows.first.locator("polyline.usage")).to_have_count(2)
        expect(rows.first.locator("polyline.limit")).to_have_count(2)

        page.get_by_role("button", name="Memory").click()
        expect(page.locator("th[aria-sort=descending]")).to_contain_text("Memory")
        shares = [
            int(text.rstrip(" %"))
            for text in rows.locator("td:nth-child(3) .share").all_inner_texts()
            if text
        ]
        assert shares == sorted(shares, reverse=True) and len(shares) > 20
        page.get_by_role("button", name="Memory").click()
        expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Memory")
        for name in ("CPU", "Last decision", "Pod"):
            page.locator("thead").get_by_role("button", name=name).click()
            expect(page.locator("th[aria-sort]")).to_contain_text(name)

        page.get_by_label("Namespace").select_option("data")
        expect(page.locator(".found")).to_contain_text("of 6 pods (29 in all)")
        page.get_by_role("searchbox", name="Search").fill("KAFKA")
        expect(rows).to_have_count(3)
        assert "search=KAFKA" in page.url and "namespace=data" in page.url
        page.reload()
        expect(rows).to_have_count(3)
        page.get_by_role("searchbox", name="Search").fill("nobody")
        expect(page.locator(".empty")).to_have_text("No pod fits the search.")
        page.get_by_role("searchbox", name="Search").fill("")
        page.get_by_label("Namespace").select_option("")
        page.get_by_label("Show").select_option("Not monitored")
        expect(rows).to_have_count(1)
        expect(rows.first).to_contain_text("is excluded from scaling.")
        page.get_by_label("Show").select_option("All pods")
        page.get_by_label("Sort by").select_option("CPU used")

        page.get_by_role("searchbox", name="Search").fill("postgres-0")
        expect(rows).to_have_count(1)
        with page.expect_response("**/scale/pod/data/postgres-0") as decided:
            page.get_by_role("button", name="Scale now: postgres-0").click()
        dialog = page.get_by_role("dialog", name="postgres-0")
        expect(dialog.locator(".q-values")).to_have_count(2)
        expect(dialog.locator(".q.best")).to_have_count(2)
        expect(dialog.locator(".reasoning")).to_contain_text("the network prefers")
        result = decided.value.json()["result"]
        expect(dialog.locator(".reasoning")).to_have_text(result["explanation"]["reasoning"])
        expect(dialog.locator(f".status.{result['status']}")).to_be_visible()
        dialog.get_by_role("button", name="Close").click()

        for answer in ("Cancel", "Scale all"):
            page.get_by_role("button", name="Scale all now").click()
            page.get_by_role("dialog").get_by_role("button", name=answer, exact=True).click()
        toast(page, "29 pods processed:")


def test_a_pod_is_shown_with_its_charts_and_decisions(browser, live):
    with dashboard(browser, live.url, "pods?search=postgres-0") as page:
        page.get_by_role("link", name="postgres-0").click()
        dialog = page.get_by_role("dialog", name="postgres-0")
        expect(dialog.locator(".chart polyline.limit")).to_have_count(2)
        assert buttons(page) >= {"Close", "Scale now"}
        chart = dialog.locator(".readable").first
        chart.focus()
        page.keyboard.press("Home")
        first = chart.locator(".readout").inner_text()
        page.keyboard.press("ArrowRight")
        expect(chart.locator(".readout")).not_to_have_text(first)
        # It has an address of its own, and closing gives the list back as it was.
        assert "#/pods/data/postgres-0" in page.url
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
        page.wait_for_function("location.hash === '#/pods?search=postgres-0'")
        page.goto(f"{live.url}/dashboard/#/pods/data/postgres-0")
        page.get_by_role("dialog", name="postgres-0").get_by_role(
            "button", name="Scale now"
        ).click()
        expect(page.get_by_role("dialog", name="postgres-0").locator(".status")).to_be_visible()
        page.get_by_role("button", name="Close").click()
        page.goto(f"{live.url}/dashboard/#/pods/data/postgres-0")
        page.get_by_role("link", name="Its decisions").click()
        settled(page, "decisions")
        expect(page.get_by_label("Pod", exact=True)).to_have_value("data/postgres-0")
        assert set(page.locator(".row .pod").all_inner_texts()) == {"postgres-0\ndata"}


def test_a_workload_tells_what_a_new_pod_starts_with_and_needs(browser, live):
    with dashboard(browser, live.url, "workloads/data/StatefulSet/postgres") as page:
        dialog = page.get_by_role("dialog", name="postgres")
        rows = dialog.locator(".workloads > li")
        expect(rows.locator("h4")).to_have_text(["postgres-0", "postgres-1"])
        row = rows.first
        heads = row.locator("thead th").all_inner_texts()
        assert heads == ["Template", "Now", "Needed", "Peak", "Typical use"]
        cpu, memory = (
            line.locator("td").all_inner_texts() for line in row.locator("tbody tr").all()
        )
        assert cpu[0] == "500m / 2" and memory[0] == "1Gi / 4Gi"
        # In the time of the cluster, an hour of which passes in a minute.
        expect(row.locator("time").first).to_contain_text(
            re.compile(r"known since .*, [\d.]+\s\w+ ago")
        )
        known = live.get("/workloads?search=postgres-0").json()["workloads"][0]
        since = known["containers"][0]["known_since"]
        expect(row.locator("time").first).to_have_attribute("datetime", since)
        dialog.get_by_role("link", name="2 pods").click()
        settled(page, "pods")
        expect(page.locator(".pods tbody tr")).to_have_count(2)
        for pod, link, name, containers in [
            ("kafka-1", "StatefulSet kafka", "kafka", ["kafka"] * 3),
            ("web-", "Deployment web", "web", ["web", "proxy"]),
            ("debug-shell", "Pod of its own", "debug-shell", ["debug-shell"]),
        ]:
            page.get_by_label("Namespace").select_option("")
            page.get_by_role("searchbox", name="Search").fill(pod)
            page.get_by_role("link", name=link).first.click()
            dialog = page.get_by_role("dialog", name=name, exact=True)
            expect(dialog.locator(".remembered b")).to_have_text(containers)
            page.keyboard.press("Escape")
            expect(page.locator("dialog")).to_have_count(0)
            go(page, "pods")
            settled(page, "pods")


def test_a_workload_whose_pods_are_gone_is_still_told_of(browser, start):
    api = f"127.0.0.1:{free_port()}"
    service = start("--simulate", "--simulate-listen", api, "--speed", "60", NAMESPACES="default")

    def remembered():
        return service.get("/workloads?search=worker").json()["workloads"]

    until(remembered, what="a first cycle")
    path = f"http://{api}/apis/apps/v1/namespaces/default/deployments/worker"
    requests.delete(path, timeout=10).raise_for_status()
    until(lambda: remembered()[0]["pods"] == 0, what="the end of its pods")
    with dashboard(browser, service.url, "workloads/default/Deployment/worker") as page:
        dialog = page.get_by_role("dialog", name="worker")
        expect(dialog.locator(".pods-of")).to_have_text("0 pods")
        expect(dialog.locator(".seen")).to_contain_text("last seen")
        shown = dialog.locator("tbody tr").first.locator("td")
        expect(shown.first).to_have_text("1 / 4")
        expect(shown.nth(1)).to_have_text("–")


def test_decisions_are_filtered_and_explained(browser, live):
    with dashboard(browser, live.url, "decisions") as page:
        settled(page, "decisions")
        assert {"Pause", "Show more"} <= buttons(page)
        rows = page.locator(".decisions .row")
        expect(rows).to_have_count(50)
        page.get_by_role("button", name="Show more").click()
        expect(rows).to_have_count(100)
        page.get_by_label("Applied").select_option("Applied")
        expect(page.locator(".decisions .status:not(.success)")).to_have_count(0)
        page.get_by_label("Action").select_option("Increase")
        expect(page.locator(".decisions li:not(:has(.chip.increase))")).to_have_count(0)
        page.get_by_label("Applied").select_option("")
        page.get_by_label("Action").select_option("")
        page.get_by_label("Pod", exact=True).fill("data/postgres-1")
        expect(page.locator(".row .pod", has_not_text="postgres-1")).to_have_count(0)

        page.get_by_role("button", name="Pause").click()
        first = rows.first
        first.click()
        detail = page.locator(".detail:visible")
        expect(detail.locator(".q")).to_have_count(6)
        shown = [
            float(text.replace("−", "-")) for text in detail.locator(".q .number").all_inner_texts()
        ]
        stamp = first.locator("time").get_attribute("datetime")
        told = live.get("/decisions?pod=data/postgres-1&limit=1000&details=true").json()[
            "decisions"
        ]
        q_values = next(one for one in told if one["timestamp"] == stamp)["q_values"]
        assert shown == pytest.approx(
            q_values["cpu_q_values"] + q_values["memory_q_values"], abs=6e-4
        )
        expect(detail.locator(".reasoning")).to_contain_text("of the limit is in use; ")
        page.wait_for_timeout(3500)
        assert first.locator("time").get_attribute("datetime") == stamp
        # What is open stays where it is, and what is newer waits to be asked for.
        place = first.bounding_box()
        page.get_by_role("button", name="Resume").click()
        newer = page.get_by_role("button", name=re.compile(r"Show \d+ newer decisions?"))
        expect(newer).to_be_visible(timeout=20_000)
        assert first.bounding_box() == place
        assert first.locator("time").get_attribute("datetime") == stamp
        expect(detail).to_be_visible()
        newer.click()
        expect(detail).to_have_count(0)
        expect(first.locator("time")).not_to_have_attribute("datetime", stamp)
        expect(newer).to_have_count(0)
        page.get_by_label("Pod", exact=True).fill("nobody")
        expect(page.locator(".empty")).to_have_text("No decision that is kept fits.")


def test_the_configuration_is_checked_compared_and_saved(browser, live):
    with dashboard(browser, live.url, "configuration") as page:
        settled(page, "configuration")
        assert buttons(page) == {"Undo", "Save"}
        save, undo, diff = (
            page.get_by_role("button", name="Save"),
            page.get_by_role("button", name="Undo"),
            page.locator(".diff"),
        )
        before = live.get("/config").json()
        for label, value, complaint in [
            ("Interval", "0", "from 1 to 86400"),
            ("Interval", "2.5", "whole number"),
            ("Cooldown", "1441", "from 0 to 1440"),
            ("Scale factor", "1", "above 0 and below 1"),
            ("Namespaces", "Bad_Name", "not a valid namespace"),
            ("Namespaces", " ", "At least one"),
            ("Excluded labels", "app", "key=value"),
        ]:
            field = page.get_by_label(label)
            field.fill(value)
            expect(page.locator(".field .error", has_text=complaint)).to_be_visible()
            assert field.get_attribute("aria-invalid") == "true"
            expect(save).to_be_disabled()
            undo.click()
            expect(page.locator(".field .error:visible")).to_have_count(0)
        assert live.get("/config").json() == before

        page.get_by_label("Interval").fill("45")
        page.get_by_label("Cooldown").fill("1")
        page.get_by_label("Scale factor").fill("0.3")
        page.get_by_label("Namespaces").fill("default\nshop\ndata\nqueue")
        page.get_by_label("Excluded Deployments").fill("redis, web\n<img src=x onerror=alert(1)>")
        page.get_by_label("Excluded labels").fill("app=redis\ntier=cache")
        page.get_by_role("switch", name="Dry run").check()
        page.get_by_role("switch", name="Autoscaler").uncheck()
        for change in [
            "Interval 30 seconds → 45 seconds",
            "Cooldown 30 minutes → 1 minute",
            "Scale factor 0.2 → 0.3",
            "Namespaces + queue, − monitoring",
            "+ web",
            "− load-generator",
            "Excluded labels + tier=cache, − component=redis",
            "Dry run off → on",
            "Autoscaler on → off",
        ]:
            expect(diff).to_contain_text(change)
        assert live.get("/config").json() == before
        save.click()
        toast(page, "Saved: Dry run off → on")
        now = live.get("/config").json()
        assert {name for name in now if now[name] != before[name]} == {
            "auto_scale_interval",
            "scaling_cooldown",
            "scale_factor",
            "namespaces",
            "excluded_deployments",
            "excluded_labels",
            "dry_run",
            "auto_scale_enabled",
        }
        assert (
            now["excluded_labels"] == {"app": "redis", "tier": "cache"}
            and now["scaling_cooldown"] == 1
        )
        expect(diff).to_have_text("Nothing yet.")
        expect(page.locator(".changelog")).to_contain_text("Interval 30 seconds → 45 seconds")
        # What looks like markup is text.
        expect(page.locator("main img, #toasts img")).to_have_count(0)
        assert "<img src=x" in page.get_by_label("Excluded Deployments").input_value()

        # What somebody else changes appears; what is being typed stays.
        page.get_by_label("Cooldown").fill("7")
        live.post("/config", json={"auto_scale_interval": 50, "scaling_cooldown": 5})
        expect(page.get_by_label("Interval")).to_have_value("50")
        expect(page.get_by_label("Cooldown")).to_have_value("7")
        expect(diff).to_have_text("Cooldown 5 minutes → 7 minutes")
        undo.click()
        page.get_by_role("switch", name="Dry run").uncheck()
        save.click()
        page.get_by_role("dialog", name="Switch dry run off?").get_by_role(
            "button", name="Go live"
        ).click()
        until(lambda: live.get("/config").json()["dry_run"] is False, what="the end of the dry run")
        expect(page.locator(".facts dt", has_text="guard_cpu_window")).to_be_visible()


def test_the_model_card_is_shown(browser, demo):
    with dashboard(browser, demo.url, "model") as page:
        settled(page, "model")
        expect(page.locator(".notice")).to_contain_text(
            "The model in use is the one that this version ships"
        )
        expect(page.locator(".features li")).to_have_count(8)
        card = demo.get("/model/card").json()["card"]
        titles = re.findall(r"^#+ (.*)$", card, re.MULTILINE)
        assert page.locator(".card-text").locator("h2, h3, h4").all_inner_texts() == titles
        assert page.locator(".card-text table").count() >= 2
        assert (
            "**" not in page.locator(".card-text").inner_text()
            and "|--" not in page.locator(".card-text").inner_text()
        )


def test_the_address_leads_to_every_view_and_back(browser, demo):
    with dashboard(browser, demo.url) as page:
        for view in (*VIEWS[1:], VIEWS[0]):
            go(page, view)
            settled(page, view)
            assert page.url.endswith(f"/dashboard/#/{view}")
            assert page.locator("[aria-current=page]").get_attribute("data-view") == view
        page.go_back()
        settled(page, "model")
        assert page.title() == "Model · dqn-scaler"
        assert {url.split("/")[2] for url in page.asked} == {demo.url.split("/")[2]}


def test_nothing_from_elsewhere_may_be_loaded(demo):
    for name in ("", "app.js", "style.css", "icon.svg"):
        answer = demo.get(f"/dashboard/{name}")
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy and answer.headers["X-Content-Type-Options"] == "nosniff"
    assert demo.get("/dashboard", allow_redirects=False).headers["Location"] == "dashboard/"
    assert demo.get("/dashboard/../Cargo.toml").status_code == 404
    assert demo.get("/dashboard/nothing.js").json() == {
        "success": False,
        "error": "Endpoint not found",
    }
