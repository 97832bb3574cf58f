"""The table of peers with few and many columns, and the page that tells a peer's story, also after it has gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import AdminNode, MakeNode, Visit, network
from tests.browser.test_looks import SIZES, faults, overflow

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def ours(nodes: MakeNode) -> AdminNode:
    """A node with two peers that dialled it, of whom it takes samples often."""
    limits = {"score_interval": "500ms", "tick": "500ms"}
    scoring = [{"plugin": "weighted"}, {"plugin": "behaviour", "dry_run": True}]
    ours = nodes("ours", network() | {"limits": limits, "scoring": scoring}, admin=True, mines=True).start()
    for agent in ("alpha", "bravo"):
        nodes(agent, network(ours.address, agent=f"/{agent}:1.0/")).start("node started")
    return ours


def texts(visit: Visit, column: int) -> list[str]:
    return [one.inner_text() for one in visit.page.locator(f"#peers tbody tr:visible td:nth-child({column})").all()]


def wait_for_both(visit: Visit) -> None:
    for agent in ("alpha", "bravo"):
        visit.page.locator("#peers tbody tr", has_text=f"/{agent}:1.0/").wait_for()


def test_more_columns_are_shown_sorted_filtered_and_remembered(
    ours: AdminNode, visit: Callable[..., Visit], screenshots: Path
) -> None:
    there = visit(ours, viewport=SIZES["desk"])
    page = there.at("/peers")
    wait_for_both(there)
    page.screenshot(path=screenshots / "peers-few.png")
    button = page.get_by_role("button", name="More columns")
    assert button.get_attribute("aria-pressed") == "false"
    assert page.locator("#peers th", has_text="Netgroup").count() == 0
    button.focus()
    page.keyboard.press("Enter")
    page.locator("#peers th", has_text="Netgroup").wait_for()
    assert button.get_attribute("aria-pressed") == "true"
    page.screenshot(path=screenshots / "peers-all.png")
    assert overflow(there) == ""
    assert faults(there) == []
    sent = page.locator("#peers th", has_text="Session")
    sent.get_by_role("button").click()
    assert sent.get_attribute("aria-sort") == "ascending"
    first = texts(there, 1)
    sent.get_by_role("button").click()
    assert texts(there, 1) == first[::-1]
    page.fill("#filter", "bravo")
    assert texts(there, 4) == ["/bravo:1.0/"]
    # Also what only the further columns say is found; and a refresh keeps all of it.
    page.fill("#filter", "loopback")
    assert len(texts(there, 4)) == 2
    page.evaluate("import('/static/live.js').then((live) => live.refresh())")
    assert texts(there, 1) == first[::-1]
    page.locator("#peers tbody tr:not([hidden])").first.get_by_role("button", name="Capture").click()
    page.locator("#ask-capture button[value=yes]").click()
    page.locator("#done", has_text=".p2pcap has begun").wait_for()
    page = there.at("/peers")
    page.locator("#peers th", has_text="Netgroup").wait_for()
    page.get_by_role("button", name="More columns").click()
    page.locator("#peers th", has_text="Netgroup").wait_for(state="detached")
    assert "columns" not in page.url
    there.at("/peers")
    wait_for_both(there)
    assert page.locator("#peers th", has_text="Netgroup").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_a_peer_s_story_can_be_read(
    ours: AdminNode, visit: Callable[..., Visit], screenshots: Path, size: str, scheme: str
) -> None:
    there = visit(ours, viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce")
    page = there.at("/peers")
    wait_for_both(there)
    page.locator("#peers tbody a").first.click()
    page.locator("svg.curve polyline").wait_for()
    title = page.locator("svg.curve title").first.text_content()
    assert title == "Score over time"
    points = page.locator("svg.curve polyline").get_attribute("points").split()
    assert len(points) >= 3
    page.locator("summary", has_text="The same in numbers").click()
    rows = page.get_by_role("region", name="Score over time").locator("tbody tr")
    rows.first.wait_for()
    assert rows.count() >= 2
    # What was opened stays open while the page lives.
    page.evaluate("import('/static/live.js').then((live) => live.refresh())")
    assert rows.first.is_visible()
    page.locator("summary", has_text="The same in numbers").click()
    assert page.locator("p.story").inner_text().endswith(".")
    assert page.get_by_role("region", name="Parts of the score").locator("tr", has_text="latency").count() == 1
    assert page.get_by_role("region", name="States").locator("tbody tr").count() == 3
    page.screenshot(path=screenshots / f"story-{size}-{scheme}.png", full_page=True)
    assert overflow(there) == ""
    assert faults(there) == []


def test_who_has_gone_is_told_of_with_the_reason(
    ours: AdminNode, visit: Callable[..., Visit], nodes: MakeNode, screenshots: Path
) -> None:
    nodes("charlie", network(ours.address, agent="/charlie:1.0/")).start("node started")
    there = visit(ours, viewport=SIZES["desk"])
    page = there.at("/peers")
    page.locator("#peers tbody tr", has_text="/charlie:1.0/").locator("a").click()
    page.wait_for_selector("#live[data-state=live]")
    page.get_by_role("button", name="Disconnect").click()
    page.fill("#disconnect-reason", "for the test of it")
    page.locator("#ask-disconnect button[value=yes]").click()
    page.locator("p.story", has_text="This peer is connected no longer.").wait_for()
    said = page.locator("p.story").inner_text()
    assert "asked-to (for the test of it)" in said
    assert page.locator("[data-do=disconnect]").count() == 0
    assert page.get_by_role("region", name="States").locator("tr", has_text="closed").count() == 1
    page.screenshot(path=screenshots / "story-gone.png", full_page=True)
    assert overflow(there) == ""
    assert faults(there) == []
