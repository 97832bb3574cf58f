"""A peer meets a limit of a real node: the refusal names the key, which is changed from there, and rolled back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import AdminNode, MakeNode, Visit, network
from tests.browser.test_looks import faults, overflow

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

INBOUND = "networks.bitcoin.topology.inbound"


@pytest.fixture
def crowded(nodes: MakeNode, request: pytest.FixtureRequest) -> AdminNode:
    """A node with the admin and one inbound slot, and two that want it."""
    label = re.sub(r"\W", "-", request.node.name)
    few = network() | {"topology": {"plugin": "random", "inbound": 1}}
    node = nodes(f"crowded-{label}", few, admin=True).start()
    for name in ("first", "second"):
        nodes(f"{name}-{label}", network(node.address, agent=f"/{name}/")).start("node started")
    return node


def open_row(page: Page, table: str, text: str) -> str:
    row = page.locator(f"#{table} tbody tr", has_text=text).first
    row.wait_for()
    return row.inner_text()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "light"), (360, "dark"), (1440, "dark")])
def test_who_is_refused_is_told_with_the_key_and_the_key_is_changed_from_there(
    crowded: AdminNode, visit: Callable[..., Visit], screenshots: Path, width: int, scheme: str
) -> None:
    there = visit(crowded, viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    page = there.at("/bans")
    refused = open_row(page, "refusals", INBOUND)
    assert "full" in refused and "1 of 1 inbound slots in use" in refused and "is 1" in refused
    assert open_row(page, "limits", INBOUND).count("1 of 1") == 1
    assert INBOUND in page.locator("#limits tbody tr").first.inner_text(), "what is near comes first"
    page.screenshot(path=screenshots / f"limits-{width}-{scheme}.png", full_page=False)
    page.locator("#limits-head").scroll_into_view_if_needed()
    page.screenshot(path=screenshots / f"limits-table-{width}-{scheme}.png", full_page=False)
    assert overflow(there) == ""
    assert faults(there) == []
    page.fill("#filter", "handshakes")
    assert page.locator("#limits tbody tr:visible").count() < 5
    page.fill("#filter", "")
    page.click(f'#limits [aria-label="Change {INBOUND}"]')
    page.fill("#value", "5")
    page.click("#ask-change button[value=yes]")
    page.wait_for_selector("#ask-apply[open]")
    assert page.inner_text("#differences") == f"{INBOUND}: 1 -> 5"
    page.click("#ask-apply button[value=yes]")
    page.locator("#limits tbody tr", has_text=INBOUND).locator("td", has_text="of 5").wait_for()
    page.click(f'#refusals a:has-text("{INBOUND}") >> nth=0')
    page.wait_for_url(f"**/config#{INBOUND}")
    page.wait_for_selector("#live[data-state=live]")
    assert "5" in page.inner_text(f'tr[data-key="{INBOUND}"]')
    page.click('[aria-label="Undo change 1 and later ones"]')
    page.click("#ask-apply button[value=yes]")
    page.locator(f'tr[data-key="{INBOUND}"] td:nth-child(2)', has_text="1").wait_for()
    page.wait_for_selector("#settings .tag", state="detached")


@pytest.mark.parametrize("width", [360, 1440])
def test_the_overview_says_which_limits_are_near(
    crowded: AdminNode, visit: Callable[..., Visit], screenshots: Path, width: int
) -> None:
    there = visit(crowded, viewport={"width": width, "height": 900})
    page = there.at("/")
    page.wait_for_selector('[aria-label="Limits near their bound"]')
    said = page.inner_text('[aria-label="Limits near their bound"]')
    assert "1 of 1 used" in said and INBOUND in said
    page.screenshot(path=screenshots / f"near-{width}.png")
    assert overflow(there) == ""
    assert faults(there) == []
