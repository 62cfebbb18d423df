"""What the dashboard says to who runs a scaler: what is saved, what is at risk, what would happen,
what was done; in charts that do not lie, and in every state."""

import csv
import datetime
import io
import json
import re

import pytest
from playwright.sync_api import expect

from conftest import until
from dashboard import VIEWS, dashboard, go, settled

ALL = "default,shop,data,monitoring"


@pytest.fixture(scope="module")
def changed(demo):
    until(lambda: demo.get("/changes").json()["found"] > 10, seconds=60, what="changes")
    return demo


def test_the_overview_leads_with_what_it_brings(browser, changed):
    with dashboard(browser, changed.url) as page:
        settled(page, "overview")
        titles = page.locator(".card h2").all_inner_texts()
        assert titles == ["Saved CPU", "Saved memory", "At risk", "Killed for memory"]
        cores = page.locator(".card .big").first.inner_text()
        told = changed.get("/statistics/outcome").json()["saved"]["cpu_cores"]
        sign = -1 if cores.startswith("−") else 1
        cores = cores.lstrip("−")
        shown = float(cores[:-1]) / 1000 if cores.endswith("m") else float(cores)
        assert sign * shown == pytest.approx(told, abs=3)
        expect(page.locator(".card", has_text="Saved memory")).to_contain_text("by the templates")
        charts = page.locator(".chart")
        expect(charts).to_have_count(2)
        for kind in ("usage", "limit", "request", "template"):
            expect(charts.first.locator(f"polyline.{kind}").first).to_be_attached()
        expect(charts.first).to_contain_text("requested by the templates")
        chart = charts.first.locator(".readable")
        chart.focus()
        expect(chart.locator(".readout")).to_contain_text(
            re.compile(r"\d+ \w+, \d\d:\d\d:\d\d: .* used, .* requested \(templates: .*\), limits")
        )


def test_a_dry_run_says_what_going_live_would_change(browser, start):
    service = start(
        "--simulate",
        "--speed",
        "60",
        NAMESPACES=ALL,
        PRICE_CORE_HOUR="0.04",
        PRICE_GIB_HOUR="0.005",
    )
    plan = lambda: service.get("/statistics/outcome").json()["plan"]
    until(lambda: plan()["shrink"] > 5, seconds=60, what="decisions to shrink")
    with dashboard(browser, service.url) as page:
        expect(page.locator(".plan")).to_have_text(
            re.compile(
                r"Live, \d+ of 28 pods would shrink: −[\d.m]+ cores, −[\d.MGi]+; "
                r"\d+ would grow: \+[\d.m]+ cores, \+[\d.MGi]+; \d+ at risk\."
            )
        )
        expect(page.locator(".card", has_text="Saved memory")).to_contain_text("of money a month")
        page.get_by_role("link", name="Which pods").click()
        expect(page.get_by_label("Show")).to_have_value("status=dry_run")
        expect(page.locator(".pods .decision", has_not_text="dry run")).to_have_count(0)
        expect(page.locator(".pods .decision").first).to_contain_text(re.compile("[↓↑]"))


def test_who_is_at_risk_is_named_with_a_way_there(browser, start):
    service = start("--simulate", "--speed", "60", NAMESPACES=ALL)
    risks = lambda: service.get("/statistics/outcome").json()["at_risk"]["risks"]
    until(risks, seconds=90, what="a container at risk")
    with dashboard(browser, service.url) as page:
        first = page.locator(".risks li").first
        expect(first).to_contain_text(
            re.compile(
                r"\d+ % of its (CPU|memory) limit is in use|killed for memory|not be resized"
            )
        )
        # In one go: another may be the first of them a moment later.
        read_and_click = "a => { const name = a.firstChild.textContent; a.click(); return name; }"
        name = first.locator("a").evaluate(read_and_click)
        expect(page.get_by_role("dialog", name=name)).to_be_visible()
        page.keyboard.press("Escape")
        page.goto(f"{service.url}/dashboard/#/workloads?show=at_risk")
        expect(page.locator(".risky").first).to_contain_text("at risk")


def test_changes_are_told_by_cycle_filtered_and_exported(browser, changed):
    with dashboard(browser, changed.url, "changes") as page:
        settled(page, "changes")
        heads = page.locator(".cycle")
        expect(heads.first).to_contain_text("by loop")
        expect(heads.first).to_contain_text("replica ")
        expect(page.locator(".went").first).to_have_text(
            re.compile("done in|not done yet|into the template|failed|undone")
        )
        expect(page.locator(".change .because").first).not_to_be_empty()
        page.get_by_label("Namespace").select_option("data")
        expect(page.locator(".change small", has_not_text="data ·")).to_have_count(0)
        page.get_by_role("searchbox", name="Search").fill("postgres")
        expect(page.locator(".change", has_not_text="postgres")).to_have_count(0)
        page.get_by_label("How it went").select_option("done")
        page.get_by_label("When").select_option("In the last 24 h")
        expect(page.locator(".went", has_not_text="done in")).to_have_count(0)
        for part in ("search=postgres", "namespace=data", "course=done", "range=24h"):
            assert part in page.url
        # The address is enough to see the same again.
        page.reload()
        expect(page.get_by_role("searchbox", name="Search")).to_have_value("postgres")
        expect(page.locator(".change").first).to_contain_text("postgres")
        with page.expect_download() as download:
            page.get_by_role("link", name="Export CSV").click()
        lines = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
        assert {line["namespace"] for line in lines} == {"data"}
        assert all(line["pod"].startswith("postgres") and line["why"] for line in lines)
        with page.expect_download() as download:
            page.get_by_role("link", name="Export JSON").click()
        told = json.loads(download.value.path().read_text())
        assert told["count"] > 0 and told["changes"][0]["course"] == "done"
        page.get_by_label("By").select_option("a person")
        expect(page.locator(".empty")).to_have_text("No change that is kept fits.")


def test_what_happened_at_a_given_time_is_found(browser, changed):
    hour = datetime.timedelta(hours=1)
    told = changed.get("/changes").json()["changes"][-1]["timestamp"]
    moment = datetime.datetime.fromisoformat(told) + datetime.timedelta(minutes=1)
    moment = moment.replace(second=0, microsecond=0)
    # The fields and the times on the page are those of the browser's time zone, which is named.
    with dashboard(browser, changed.url, "changes", timezone_id="Europe/Berlin") as page:
        settled(page, "changes")
        expect(page.locator(".as-of")).to_contain_text(re.compile(r"as of .* (CET|GMT\+1)$"))
        page.get_by_label("When").select_option("In the last hour")
        page.get_by_label("Up to").fill((moment + hour).strftime("%Y-%m-%dT%H:%M"))
        utc = moment.strftime("%Y-%m-%dT%H:%M:00.000Z")
        page.wait_for_function(f"decodeURIComponent(location.hash).includes('to={utc}')")
        page.reload()
        stamps = page.locator(".cycle time")
        expect(stamps.first).to_be_visible()
        for stamp in stamps.evaluate_all("all => all.map(one => one.dateTime)"):
            assert moment - hour <= datetime.datetime.fromisoformat(stamp) <= moment
        expect(page.get_by_label("Up to")).to_have_value((moment + hour).strftime("%Y-%m-%dT%H:%M"))


def test_workloads_are_the_main_list(browser, changed):
    with dashboard(browser, changed.url, "workloads") as page:
        settled(page, "workloads")
        rows = page.locator(".rows tbody tr")
        page.keyboard.press("/")
        page.keyboard.type("POSTGRES")
        expect(rows).to_have_count(1)
        row = rows.first
        expect(row.locator("th")).to_contain_text("data · StatefulSet · 2 replicas")
        cpu = row.locator(".size").first
        expect(cpu.locator("dt")).to_have_text(["template", "now", "needed", "used", "saved"])
        expect(cpu.locator("dd").first).to_have_text("1 / 4")
        expect(row.locator(".decision")).to_contain_text(re.compile(r" ago|not changed"))
        assert "search=POSTGRES" in page.url
        # What is not measured, and what a template does not ask for, are no zeros.
        for name, line, says in (("redis", 3, "–"), ("static-files", 0, "none / none")):
            page.get_by_role("searchbox", name="Search").fill(name)
            expect(row.locator("th")).to_contain_text(name)
            expect(cpu.locator("dd").nth(line)).to_have_text(says)
        page.get_by_role("searchbox", name="Search").fill("POSTGRES")
        expect(row.locator("th")).to_contain_text("postgres")
        page.reload()
        expect(rows).to_have_count(1)
        row.get_by_role("link", name="postgres").click()
        dialog = page.get_by_role("dialog", name="postgres")
        expect(dialog).to_contain_text("What is remembered")
        assert "#/workloads/data/StatefulSet/postgres" in page.url
        page.keyboard.press("Escape")
        page.wait_for_function("location.hash === '#/workloads?search=POSTGRES'")
        page.get_by_role("searchbox", name="Search").fill("")
        page.get_by_label("Show").select_option("Held back")
        expect(page.locator(".rows .held").first).not_to_be_empty()
        page.get_by_label("Show").select_option("Changed")
        page.get_by_label("Changed", exact=True).select_option("In the last 24 h")
        expect(rows.first).to_contain_text(" ago")
        page.get_by_label("Show").select_option("All")
        page.get_by_label("Changed", exact=True).select_option("Any time")
        page.locator("thead").get_by_role("button", name="Memory").click()
        expect(page.locator("th[aria-sort=descending]")).to_contain_text("Memory")
        names = lambda: [
            text.split("\n")[0] for text in page.locator(".rows tbody th").all_inner_texts()
        ]
        told = lambda: [
            one["name"]
            for one in changed.get("/workloads/overview?sort=memory&order=desc").json()["workloads"]
        ]
        until(lambda: names() == told(), what="the order of the service")


def test_why_a_pod_was_not_cut_is_said_in_figures(browser, changed):
    with dashboard(browser, changed.url, "pods") as page:
        settled(page, "pods")
        says = re.compile(
            r"a cut to \S+( cores| [MG]iB)? would (leave \d+ % above|go below) the peak of .*"
            r"|waits (\d+ (seconds|min|h)|1 second) more after the last change"
        )
        expect(page.locator(".why", has_text=says).first).to_be_visible(timeout=30_000)
        expect(page.locator(".why", has_text="held by bounds or cooldown")).to_have_count(0)


def heights(line):
    return [float(pair.split(",")[1]) for pair in line.get_attribute("points").split()]


def test_charts_show_gaps_what_held_then_and_what_happened(browser, changed):
    moments = [f"2026-11-28T10:{minute:02}:00.000Z" for minute in (0, 1, 2, 3, 30, 31, 32)]
    usage, limit = [0.4, 0.45, 0.5, 0.2, 0.2, 0.2, 0.2], [0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]

    def history(route):
        answer = route.fetch()
        told = answer.json()
        columns = {"cpu_usage": usage, "cpu_limit": limit, "cpu_request": limit}
        told["pod"]["history"] |= columns | {"timestamps": moments}
        told["pod"]["history"] |= {
            name.replace("cpu", "memory") + ("_mb"): [1000 * one for one in column]
            for name, column in columns.items()
        }
        told["events"] = [
            {"timestamp": moments[3], "kind": "change", "what": "CPU 500m -> 300m"},
            {"timestamp": moments[5], "kind": "kill", "what": "container postgres was killed"},
        ]
        route.fulfill(response=answer, json=told)

    with dashboard(browser, changed.url, "pods") as page:
        settled(page, "pods")
        expect(page.locator(".key-of")).to_have_text("usagelimitrequest")
        page.route("**/history", history)
        page.goto(f"{changed.url}/dashboard/#/pods/data/postgres-0")
        chart = page.get_by_role("dialog").locator(".chart").first
        # Nothing is drawn where nothing was measured.
        expect(chart.locator("polyline.usage")).to_have_count(2)
        expect(chart.locator("polyline.limit")).to_have_count(2)
        used, held = (
            heights(chart.locator(f"polyline.{kind}").first) for kind in ("usage", "limit")
        )
        assert min(used) >= min(held), "never above the limit, which is drawn as it was then"
        assert max(held) > min(held)
        expect(chart.locator(".mark.change-mark title")).to_have_text("CPU 500m -> 300m")
        expect(chart.locator(".mark.kill-mark title")).to_have_text("container postgres was killed")
        expect(chart.locator("figcaption")).to_contain_text("killed for memory")
        ticks = chart.locator(".tick").all_text_contents()
        assert sum("28 Nov" in tick for tick in ticks) == 2, ticks


def test_one_route_that_fails_leaves_what_is_shown_and_says_from_when_it_is(browser, changed):
    with dashboard(browser, changed.url, "changes", failing=True) as page:
        settled(page, "changes")
        expect(page.locator(".as-of")).to_contain_text("as of")
        page.route(
            "**/changes?*",
            lambda route: route.fulfill(
                status=500, json={"success": False, "error": "Internal server error"}
            ),
        )
        banner = page.locator(".banner.failed")
        expect(banner).to_contain_text("Internal server error")
        expect(banner).to_contain_text(re.compile(r"is from \d+ \w+, \d\d:\d\d:\d\d"))
        expect(page.locator(".change").first).to_be_visible()
        page.unroute("**/changes?*")
        expect(banner).to_have_count(0)


def test_a_route_that_fails_from_the_start_is_told_and_asked_again(browser, changed):
    with dashboard(browser, changed.url, "model", failing=True) as page:
        settled(page, "model")
        page.route("**/statistics/outcome", lambda route: route.abort())
        page.goto(f"{changed.url}/dashboard/#/overview")
        page.reload()
        expect(page.locator(".banner.gone")).to_contain_text("does not answer. Trying again …")
        expect(page.locator(".risks ~ .empty")).to_have_text("Not known yet.")
        page.unroute("**/statistics/outcome")
        settled(page, "overview")
        expect(page.locator(".banner")).to_have_count(0)


def test_what_is_typed_and_not_saved_is_not_lost_silently(browser, changed):
    with dashboard(browser, changed.url, "configuration") as page:
        settled(page, "configuration")
        page.get_by_label("Cooldown").fill("7")
        for answer, view in [("Cancel", "configuration"), ("Leave", "pods")]:
            page.locator("#nav [data-view=pods]").click()
            dialog = page.get_by_role("dialog", name="Leave without saving?")
            dialog.get_by_role("button", name=answer).click()
            expect(page.locator("[aria-current=page]")).to_have_attribute("data-view", view)
            if answer == "Cancel":
                expect(page.get_by_label("Cooldown")).to_have_value("7")
        assert changed.get("/config").json()["scaling_cooldown"] == 30


def test_every_page_says_that_the_cluster_is_simulated_and_how_fast(browser, changed):
    with dashboard(browser, changed.url) as page:
        for view in VIEWS:
            go(page, view)
            settled(page, view)
            expect(page.locator(".as-of")).to_contain_text(
                re.compile(
                    r"Simulated cluster, 60 times as fast .* · as of \d+ \w+, \d\d:\d\d:\d\d"
                )
            )


def test_names_are_the_labels_and_nothing_is_cut_off(browser, changed):
    with dashboard(browser, changed.url, viewport={"width": 1440, "height": 900}) as page:
        for view in VIEWS:
            go(page, view)
            settled(page, view)
            other = page.locator("[aria-label]:is(button, a)").evaluate_all(
                "all => all.filter(one => /\\w/.test(one.textContent)"
                " && !one.getAttribute('aria-label').includes(one.textContent.trim()))"
                ".map(one => one.outerHTML.slice(0, 90))"
            )
            assert other == [], view
            cut = page.locator("button:visible, select:visible, a.button:visible").evaluate_all(
                """all => all.filter(one => {
                    if (one.matches("select")) {
                        const wide = document.createElement("select");
                        wide.append(one.selectedOptions[0].cloneNode(true));
                        document.body.append(wide);
                        Object.assign(wide.style, { width: "auto", position: "absolute" });
                        const wanted = wide.getBoundingClientRect().width;
                        wide.remove();
                        return wanted > one.getBoundingClientRect().width + 1;
                    }
                    return one.scrollWidth > one.clientWidth + 1;
                }).map(one => one.outerHTML.slice(0, 90))"""
            )
            assert cut == [], view
            cut = page.locator("input[placeholder]:visible").evaluate_all(
                """all => all.filter(one => {
                    const pen = document.createElement("canvas").getContext("2d");
                    const style = getComputedStyle(one);
                    pen.font = style.font;
                    const padding = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
                    return pen.measureText(one.placeholder).width > one.clientWidth - padding;
                }).map(one => one.placeholder)"""
            )
            assert cut == [], view
