"""The config page and a plugin's page: a limit is changed live, found changed, and rolled back."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import AdminNode, MakeNode, Visit, network
from tests.browser.test_looks import faults, overflow

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

VISITS = "networks.bitcoin.limits.visits"
CHAIN = "networks.bitcoin.protocol.chain"


@pytest.fixture
def ours(nodes: MakeNode, request: pytest.FixtureRequest) -> AdminNode:
    """A node with the admin, and a plugin that has a page in it."""
    node = nodes(f"config-{request.node.name}", network(), admin=True)
    node.path.write_text(node.path.read_text().replace("applications:\n", "applications:\n- {plugin: tip-watch}\n"))
    return node.start()


def change(page: Page, key: str, value: str) -> None:
    page.fill("#filter", key)
    page.click(f'[aria-label="Change {key}"]')
    page.fill("#value", value)
    page.click("#ask-change button[value=yes]")


def value_of(page: Page, key: str, text: str) -> None:
    page.locator(f'tr[data-key="{key}"] td:nth-child(2)', has_text=text).wait_for()


@pytest.mark.parametrize("width", [360, 1440])
def test_a_limit_is_changed_while_the_node_runs_and_rolled_back(
    ours: AdminNode, visit: Callable[..., Visit], screenshots: Path, width: int
) -> None:
    there = visit(ours, viewport={"width": width, "height": 900})
    page = there.at("/config")
    change(page, VISITS, "9")
    page.wait_for_selector("#ask-apply[open]")
    assert page.inner_text("#differences") == f"{VISITS}: 32 -> 9"
    page.screenshot(path=screenshots / f"config-apply-{width}.png")
    page.click("#ask-apply button[value=yes]")
    page.wait_for_selector("#done:visible")
    assert page.inner_text("#done") == f"Changed: {VISITS}: 32 -> 9."
    value_of(page, VISITS, "9")
    assert "set here" in page.inner_text(f'tr[data-key="{VISITS}"]')
    assert page.locator(f'[aria-label="Change {CHAIN}"]').count() == 0, "that takes a restart"
    # What can't be is said, and changes nothing.
    change(page, VISITS, "0")
    page.wait_for_selector("#told:visible")
    assert f"{VISITS}: must be at least 1" in page.inner_text("#told").lower()
    assert "422" in there.wrong.pop()
    page.screenshot(path=screenshots / f"config-{width}.png", full_page=width == 360)
    assert overflow(there) == ""
    assert faults(there) == []
    # An undo shows what it would change, and is done where that is agreed to.
    page.click('[aria-label="Undo change 1 and later ones"]')
    page.wait_for_selector("#ask-apply[open]")
    assert page.inner_text("#differences") == f"{VISITS}: 9 -> 32"
    page.keyboard.press("Escape")
    value_of(page, VISITS, "9")
    page.click('[aria-label="Undo change 1 and later ones"]')
    page.click("#ask-apply button[value=yes]")
    value_of(page, VISITS, "32")
    assert page.locator("#settings .tag").count() == 0
    assert page.inner_text("#done") == f"Undone: {VISITS}: 9 -> 32."


def test_of_two_operators_the_second_is_told(ours: AdminNode, visit: Callable[..., Visit]) -> None:
    first, second = visit(ours), visit(ours)
    one, other = first.at("/config"), second.at("/config")
    change(one, VISITS, "9")
    one.wait_for_selector("#ask-apply[open]")
    change(other, VISITS, "11")
    other.click("#ask-apply button[value=yes]")
    value_of(other, VISITS, "11")
    one.click("#ask-apply button[value=yes]")
    one.wait_for_selector("#told:visible")
    assert "somebody has set something meanwhile" in one.inner_text("#told").lower()
    assert "409" in first.wrong.pop()
    value_of(one, VISITS, "11")


def test_what_was_before_the_file_was_read_again_is_not_undone(
    ours: AdminNode, visit: Callable[..., Visit], screenshots: Path
) -> None:
    there = visit(ours, viewport={"width": 360, "height": 900})
    page = there.at("/config")
    change(page, VISITS, "12")
    page.click("#ask-apply button[value=yes]")
    page.wait_for_selector('[aria-label="Undo change 1 and later ones"]')
    assert ours.process is not None
    ours.process.send_signal(signal.SIGHUP)
    nothing_is_set(page)
    page.reload()
    page.locator("td", has_text="the file was read again since").wait_for()
    value_of(page, VISITS, "32")
    page.locator("#settings").scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "config-reread-360.png", full_page=True)
    assert overflow(there) == ""
    assert faults(there) == []


def nothing_is_set(page: Page) -> None:
    """Until nothing is set over the file."""
    page.wait_for_function(
        "async () => !Object.keys((await (await fetch('/api/v1/config')).json()).changed).length", polling=200
    )


def test_a_value_is_taken_back(ours: AdminNode, visit: Callable[..., Visit]) -> None:
    page = visit(ours).at("/config")
    change(page, VISITS, "12")
    page.click("#ask-apply button[value=yes]")
    value_of(page, VISITS, "12")
    page.click(f'[aria-label="Take back {VISITS}"]')
    page.wait_for_selector("#ask-apply[open]")
    page.click("#ask-apply button[value=yes]")
    value_of(page, VISITS, "32")


def test_a_value_that_equals_the_files_is_taken_back(
    ours: AdminNode, visit: Callable[..., Visit], screenshots: Path
) -> None:
    there = visit(ours, viewport={"width": 360, "height": 900})
    page = there.at("/config")
    for value in ("7", "32"):
        change(page, VISITS, value)
        page.click("#ask-apply button[value=yes]")
        value_of(page, VISITS, value)
    row = page.locator(f'tr[data-key="{VISITS}"]')
    assert "set here" in row.inner_text()
    # To set it once more is still nothing.
    change(page, VISITS, "32")
    page.locator("#done", has_text="That changes nothing.").wait_for()
    page.click(f'[aria-label="Take back {VISITS}"]')
    page.locator("#done", has_text="The value stays 32; it is the file's again.").wait_for()
    assert page.locator("dialog[open]").count() == 0, "no value differs: there is nothing to ask"
    row.locator("td:nth-child(3)", has_not_text="set here").wait_for()
    value_of(page, VISITS, "32")
    nothing_is_set(page)
    # So it is with the undo of that: what was set is set again, and equals the file's.
    page.click('[aria-label="Undo change 3 and later ones"]')
    page.locator("#done", has_text="Undone. No value in force is another for it.").wait_for()
    row.locator("td:nth-child(3)", has_text="set here").wait_for()
    page.click(f'[aria-label="Take back {VISITS}"]')
    nothing_is_set(page)
    page.screenshot(path=screenshots / "config-takeback-360.png")
    assert overflow(there) == ""
    assert faults(there) == []


def test_a_value_that_the_file_has_come_to_say_is_taken_back(ours: AdminNode, visit: Callable[..., Visit]) -> None:
    page = visit(ours).at("/config")
    change(page, VISITS, "7")
    page.click("#ask-apply button[value=yes]")
    value_of(page, VISITS, "7")
    before = ours.path.read_text()
    ours.path.write_text(before.replace("  bitcoin:\n", "  bitcoin:\n    limits: {visits: 7}\n"))
    assert ours.path.read_text() != before
    page.click(f'[aria-label="Take back {VISITS}"]')
    page.locator("#done", has_text="The value stays 7; it is the file's again.").wait_for()
    nothing_is_set(page)


@pytest.mark.parametrize("width", [360, 1440])
def test_a_plugins_page_is_in_the_menu(
    ours: AdminNode, visit: Callable[..., Visit], screenshots: Path, width: int
) -> None:
    there = visit(ours, viewport={"width": width, "height": 900})
    page = there.at("/")
    page.click("nav a:has-text('Tips')")
    page.wait_for_url(ours.url + "/pages/tips")
    page.wait_for_selector("#live[data-state=live]")
    assert page.inner_text("td") == "bitcoin"
    page.screenshot(path=screenshots / f"plugin-{width}.png")
    assert overflow(there) == ""
    assert faults(there) == []
