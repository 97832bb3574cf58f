"""Propagation, discovery, topology in a browser: an item opened from the table, a drawing marked by links."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import AdminNode, MakeNode, Visit, network
from tests.browser.test_looks import SIZES, faults, overflow

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def busy(nodes: MakeNode, tmp_path_factory: pytest.TempPathFactory) -> AdminNode:
    """A node that makes blocks, with peers both ways and addresses."""
    target = nodes("map-target", network(agent="/target:1.0/")).start()
    known = tmp_path_factory.mktemp("known") / "peers.txt"
    known.write_text("".join(f"127.0.{number % 7}.1:{9000 + number}\n" for number in range(2, 60)))
    discovery = [{"plugin": "static", "peers": [target.address]}, {"plugin": "file", "path": str(known)}]
    ours = nodes("map-ours", network(discovery=discovery), admin=True, mines=True).start("peer " + target.address)
    for number in range(6):
        nodes(f"map-{number}", network(ours.address, agent=f"/map:{number}/")).start("peer " + ours.address)
    return ours


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_maps_fit_and_anybody_can_use_them(
    busy: AdminNode, visit: Callable[..., Visit], screenshots: Path, size: str, scheme: str
) -> None:
    there = visit(busy, viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce")
    told: dict[str, object] = {}
    page = there.at("/propagation")
    page.locator("table[data-sortable] tbody a").first.wait_for()
    item = page.locator("table[data-sortable] tbody a").last.get_attribute("href")
    for name, path in (
        ("propagation", "/propagation"), ("item", item), ("addresses", "/addresses"), ("topology", "/topology"),
        ("topology-score", "/topology?by=score"), ("topology-netgroup", "/topology?by=netgroup"),
    ):  # fmt: skip
        there.at(path)
        page.screenshot(path=screenshots / f"map-{name}-{size}-{scheme}.png", full_page=True)
        told |= {f"{name} overflows": wide} if (wide := overflow(there)) else {}
        told |= {f"{name} axe": found} if (found := faults(there)) else {}
    assert told == {}


def test_an_item_is_opened_from_the_table_and_leads_to_its_peers(
    busy: AdminNode, visit: Callable[..., Visit]
) -> None:
    there = visit(busy)
    page = there.at("/propagation")
    assert "block:" in page.inner_text(".said")
    page.locator("table[data-sortable] tbody a").last.click()
    page.get_by_text("This node made it").wait_for()
    assert page.locator("svg.tree text").first.is_visible()
    # Whom it was told is drawn, and in the table, which leads on.
    page.locator("td", has_text="was told").first.wait_for()
    page.locator("tbody a").first.click()
    page.locator("h1", has_text="127.0.0.1").wait_for()


def test_the_drawing_is_marked_by_what_is_chosen_without_a_script(
    busy: AdminNode, visit: Callable[..., Visit]
) -> None:
    there = visit(busy)
    page = there.at("/topology")
    assert "dialled us: 6" in page.inner_text("figcaption")
    page.locator(".choice").get_by_role("link", name="score").click()
    page.wait_for_url("**/topology?by=score")
    assert page.locator(".choice [aria-current]").inner_text() == "score"
    assert "score" in page.inner_text("figcaption") and "dialled us: 6" not in page.inner_text("figcaption")
    page.wait_for_selector("#live[data-state=live]")
    # A mark leads to its peer.
    page.locator("figure > svg a").first.click()
    page.locator("h1", has_text="127.0.0.1").wait_for()


def test_the_book_is_shown_by_netgroup_and_age(busy: AdminNode, visit: Callable[..., Visit]) -> None:
    there = visit(busy)
    page = there.at("/addresses")
    page.get_by_text("Known for", exact=True).first.wait_for()
    page.locator("td", has_text="under 1 h").first.wait_for()
    assert page.locator("th", has_text="Yield").is_visible()
