"""Each page fits a phone and a desk, light and dark, has no faults that axe finds, and logs no error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import HOSTILE, AdminNode, MakeNode, Visit, network

pytestmark = pytest.mark.browser

PAGES = {
    "overview": "/", "peers": "/peers", "propagation": "/propagation", "discovery": "/addresses",
    "topology": "/topology", "bans": "/bans", "events": "/events", "config": "/config", "gone": "/peers/bitcoin/999",
}  # fmt: skip
SIZES = {"phone": {"width": 360, "height": 740}, "desk": {"width": 1440, "height": 900}}
BANNED = "203.0.113.77"
CUT = """() => [...document.querySelectorAll("td.actions button")].some((one) =>
    one.getBoundingClientRect().right > one.closest(".scroll").getBoundingClientRect().right)"""
SANITIZED = "/img srcx onerrordocument.titleowned"


@pytest.fixture(scope="module")
def busy(nodes: MakeNode, tmp_path_factory: pytest.TempPathFactory) -> AdminNode:
    """A node that has of everything something: peers both ways, one of them hostile, addresses, errors, new blocks."""
    target = nodes("target", network(agent="/target:1.0/")).start()
    known = tmp_path_factory.mktemp("known") / "peers.txt"
    known.write_text("".join(f"127.0.{number}.1:{9000 + number}\n" for number in range(2, 30)))
    discovery = [
        {"plugin": "static", "peers": [target.address]},
        {"plugin": "file", "path": str(known)},
        {"plugin": "http", "url": "http://127.0.0.1:1/peers", "key": "ab" * 32},
    ]
    ours = nodes("ours", network(discovery=discovery), admin=True, mines=True).start("peer " + target.address)
    for name, agent in (("first", "/first:1.0/"), ("second", "/second:2.0/"), ("hostile", HOSTILE)):
        nodes(name, network(ours.address, agent=agent)).start("peer " + ours.address)
    return ours


def overflow(visit: Visit) -> str:
    """What is broader than the window; empty where all fits."""
    return visit.page.evaluate("""() => document.scrollingElement.scrollWidth <= innerWidth ? "" :
        [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth
            && !one.parentElement.closest(".scroll, pre, nav")).map((one) => one.outerHTML.slice(0, 80)).join("\\n")
        || "something" """)


def faults(visit: Visit) -> list[str]:
    """What axe finds on the page as it is."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python: tox -e browser")
    found = axe.Axe().run(visit.page).response["violations"]
    return [f"{one['id']}: {one['help']}: {[node['html'][:120] for node in one['nodes']]}" for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_pages_fit_and_anybody_can_use_them(
    busy: AdminNode, visit: Callable[..., Visit], screenshots: Path, size: str, scheme: str
) -> None:
    there = visit(busy, viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce")
    told: dict[str, Any] = {}
    page = there.at("/bans")
    page.click("[data-do=keepout]")
    page.fill("#subject", BANNED)
    page.fill("#reason", "scans the network")
    page.click("#ask-keepout button[value=yes]")
    page.wait_for_selector(f"#bans tr:has-text('{BANNED}')")
    there.at("/propagation")
    page.locator("table tbody tr").first.wait_for()
    there.at("/addresses")
    page.locator("table[data-sortable] tbody tr").first.wait_for()
    there.at("/peers")
    first = page.locator("#peers tbody a").first.get_attribute("href")
    for name, path in {**PAGES, "peer": first}.items():
        there.at(path)
        page.screenshot(path=screenshots / f"{name}-{size}-{scheme}.png", full_page=size == "phone")
        if name == "gone":
            # That it is not there is what the browser logs.
            assert "404" in there.wrong.pop()
        told |= {f"{name} overflows": wide} if (wide := overflow(there)) else {}
        told |= {f"{name} axe": found} if (found := faults(there)) else {}
    there.at("/peers")
    if size == "desk":
        told |= {"actions out of sight": True} if page.evaluate(CUT) else {}
    for action in ("connect", "disconnect", "ban"):
        page.locator(f"[data-do={action}]").first.click()
        page.wait_for_selector(f"#ask-{action}[open]")
        page.screenshot(path=screenshots / f"ask-{action}-{size}-{scheme}.png")
        told |= {f"ask-{action} axe": found} if (found := faults(there)) else {}
        page.keyboard.press("Escape")
    page.click("[data-do=logout]")
    page.wait_for_selector("#login")
    page.screenshot(path=screenshots / f"login-{size}-{scheme}.png")
    told |= {"login overflows": wide} if (wide := overflow(there)) else {}
    told |= {"login axe": found} if (found := faults(there)) else {}
    assert told == {}


def test_what_a_peer_calls_itself_is_text(busy: AdminNode, visit: Callable[..., Visit]) -> None:
    """The protocol leaves out of an agent what no agent needs; what stays of it is text, and makes no element."""
    there = visit(busy)
    for path in ("/peers", "/events"):
        page = there.at(path)
        page.locator("tbody tr", has_text=SANITIZED).first.wait_for()
        assert page.locator("main img, main b").count() == 0
    page = there.at("/peers")
    page.locator("tbody tr", has_text=SANITIZED).locator("a").click()
    page.locator("dd", has_text=SANITIZED).wait_for()
    assert page.locator("main img, main b").count() == 0
    assert "owned" not in page.title()


def test_a_node_that_knows_nobody(nodes: MakeNode, visit: Callable[..., Visit], screenshots: Path) -> None:
    empty = nodes("empty", network(), admin=True).start()
    there = visit(empty, viewport=SIZES["desk"])
    for name, path, said in (
        ("overview", "/", "Healthy"), ("peers", "/peers", "No peer is connected"),
        ("discovery", "/addresses", "No address is known"), ("bans", "/bans", "Nobody is kept out"),
        ("events", "/events", "Nothing has happened yet"), ("topology", "/topology", "No peer is connected"),
        ("propagation", "/propagation", "No item has come yet"),
    ):  # fmt: skip
        page = there.at(path)
        page.screenshot(path=screenshots / f"empty-{name}.png")
        assert said in page.inner_text("main")
        assert overflow(there) == ""
        assert faults(there) == []


def test_a_node_whose_discovery_fails_says_so(
    nodes: MakeNode, visit: Callable[..., Visit], screenshots: Path
) -> None:
    lists = [{"plugin": "http", "url": "http://127.0.0.1:1/peers", "key": "ab" * 32}]
    lonely = nodes("lonely", network(discovery=lists), admin=True).start()
    there = visit(lonely, viewport=SIZES["desk"])
    page = there.at("/")
    page.wait_for_selector(".verdict.bad")
    assert "Not healthy" in page.inner_text(".verdict")
    assert "every discovery fails" in page.inner_text(".alerts")
    page.screenshot(path=screenshots / "failing-overview.png")
    assert faults(there) == []
    page = there.at("/addresses")
    page.wait_for_selector("td .tag.bad")
    assert "failing" in page.inner_text("td .tag.bad")
    page.screenshot(path=screenshots / "failing-discovery.png")
    assert faults(there) == []
    assert overflow(there) == ""
