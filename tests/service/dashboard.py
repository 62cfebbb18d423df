"""The dashboard in a browser, and what every page of it must be."""

import contextlib
import re

from playwright.sync_api import expect

VIEWS = ("overview", "workloads", "pods", "changes", "decisions", "configuration", "model")
DESKTOP = {"width": 1360, "height": 900}
PHONE = {"width": 360, "height": 740}


@contextlib.contextmanager
def dashboard(browser, base, view="overview", address=None, failing=False, **context):
    """A page on a view of the dashboard; afterwards nothing may stand in its console. `failing`:
    but that calls failed."""
    context = browser.new_context(**{"viewport": DESKTOP, "color_scheme": "light"} | context)
    page = context.new_page()
    page.set_default_timeout(10_000)
    said, asked = [], []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
    page.on("request", lambda request: asked.append(request.url))
    page.asked = asked
    page.goto(address or f"{base}/dashboard#/{view}")
    try:
        yield page
        expected = "Failed to load resource" if failing else None
        assert [line for line in said if not (expected and expected in line)] == []
    finally:
        context.close()


def go(page, view):
    page.locator(f"#nav [data-view={view}]").click()
    expect(page.locator("h1")).to_have_text(re.compile(view, re.IGNORECASE))


def settled(page, view):
    """The view shows data."""
    there = {
        "overview": ".card .big:not(:text-is('–'))",
        "pods": ".pods tbody tr",
        "workloads": ".rows tbody tr",
        "changes": ".cycles .change, .empty:visible",
        "decisions": ".decisions .row",
        "configuration": ".facts.columns dt",
        "model": ".card-text h2",
    }
    expect(page.locator(there[view]).first).to_be_visible()


def buttons(page):
    """The names of the buttons that can be seen."""
    names = page.locator("main button:visible, dialog button:visible").evaluate_all(
        "all => all.map(one => one.getAttribute('aria-label') ?? one.textContent)"
    )
    return {re.sub(r"Scale now: \S+", "Scale now: POD", name.strip()) for name in names}


def toast(page, text):
    note = page.locator(".toast", has_text=text).last
    expect(note).to_be_visible()
    note.get_by_role("button", name="Dismiss").click()
    expect(note).to_have_count(0)
