"""The pictures of the README, taken anew: tests/service/run.sh tests/service/screenshots.py"""

from conftest import ROOT, until
from dashboard import dashboard, go, settled

LARGEST = 200_000
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1200, "height": 780}


def test_the_pictures_of_the_readme(browser, demo):
    folder = ROOT / "docs"
    folder.mkdir(exist_ok=True)
    cycles = lambda: len(demo.get("/statistics/timeline").json()["cycles"])
    until(lambda: cycles() > 90, seconds=120, what="an hour of cycles")

    def picture(page, name):
        file = folder / f"dashboard-{name}.png"
        page.mouse.move(0, 0)
        page.screenshot(path=file)
        assert file.stat().st_size < LARGEST

    with dashboard(browser, demo.url, viewport=DESK) as page:
        settled(page, "overview")
        picture(page, "overview")
        for view in ("workloads", "changes"):
            go(page, view)
            settled(page, view)
            picture(page, view)
        go(page, "pods")
        page.get_by_label("Sort by").select_option("CPU used")
        page.wait_for_timeout(500)
        picture(page, "pods")
    with dashboard(
        browser,
        demo.url,
        "decisions?action=DECREASE&applied=true",
        viewport=DESK,
        color_scheme="dark",
    ) as page:
        settled(page, "decisions")
        page.locator(".row").first.click()
        picture(page, "decisions-dark")
    with dashboard(browser, demo.url, viewport=PHONE) as page:
        settled(page, "overview")
        picture(page, "phone")
