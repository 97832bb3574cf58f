"""What an operator sees of a peer's messages, and how they get into files: two real Bitcoin nodes, in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from p2pframe.capture_file import decode
from tests.browser.conftest import AdminNode, MakeNode, Visit, network
from tests.browser.test_looks import SIZES, faults, overflow

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def ours(nodes: MakeNode) -> AdminNode:
    """A node that mines, so that its peer is told of something each second."""
    ours = nodes("ours", network(), admin=True, mines=True).start()
    nodes("alpha", network(ours.address, agent="/alpha:1.0/")).start("peer " + ours.address)
    return ours


def peer_page(there: Visit, agent: str) -> Page:
    page = there.at("/peers")
    page.locator("#peers tbody tr", has_text=agent).locator("a").first.click()
    page.wait_for_selector("h2:has-text('What it says')")
    page.wait_for_selector("#live[data-state=live]")
    return page


def inspected(there: Visit, agent: str = "alpha") -> Page:
    """The messages of a peer, some of which have come."""
    page = peer_page(there, agent)
    page.get_by_role("button", name="Inspect").click()
    page.wait_for_url(re.compile("/messages"))
    page.locator("#messages a", has_text="headers").first.wait_for()
    return page


def test_a_message_is_inspected_live_decoded_and_byte_by_byte(
    ours: AdminNode, visit: Callable[..., Visit], tmp_path: Path
) -> None:
    there = visit(ours, accept_downloads=True)
    page = inspected(there)
    before = page.locator("#messages tbody tr").count()
    page.wait_for_function("(many) => document.querySelectorAll('#messages tbody tr').length > many", arg=before)
    # One is chosen without leaving the list, and the focus goes to it.
    page.evaluate("window.stayed = true")
    page.locator("#messages a", has_text="headers").first.click()
    page.locator("#message h2", has_text="headers").wait_for()
    assert page.evaluate("window.stayed"), "the page was loaded again"
    assert page.evaluate("document.activeElement.id") == "message"
    says = page.inner_text("#message .says")
    assert "merkle root" in says
    assert re.search(r"hash\s+[0-9a-f]{64}", says)
    dump = page.inner_text("#message .dump")
    assert dump.startswith("000000  fa bf b5 da 68 65 61 64  65 72 73 00")
    assert "headers" in dump
    # It stays while others come.
    many = page.locator("#messages tbody tr").count()
    page.wait_for_function("(many) => document.querySelectorAll('#messages tbody tr').length > many", arg=many)
    assert page.inner_text("#message .dump") == dump
    assert page.locator("#messages a[aria-current]").count() == 1
    with page.expect_download() as given:
        page.locator("#message").get_by_role("link", name="Download it").click()
    raw = Path(given.value.path()).read_bytes()
    assert raw[:4].hex() == "fabfb5da"
    assert raw[4:11] == b"headers"


def test_messages_are_filtered_and_downloaded(ours: AdminNode, visit: Callable[..., Visit]) -> None:
    there = visit(ours, accept_downloads=True)
    page = inspected(there)
    page.get_by_label("Direction").select_option("out")
    page.get_by_label("Type").fill("headers")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url(re.compile("type=headers"))
    page.locator("#messages a").first.wait_for()
    assert set(page.locator("#messages a").all_inner_texts()) == {"headers"}
    assert set(page.locator("#messages .tag").all_inner_texts()) == {"out"}
    with page.expect_download() as given:
        page.get_by_role("link", name="lines of JSON").click()
    lines = [json.loads(line) for line in Path(given.value.path()).read_text().splitlines()]
    assert {(one["type"], one["way"]) for one in lines} == {("headers", "out")}
    with page.expect_download() as given:
        page.get_by_role("link", name="a capture").click()
    head, records = decode(Path(given.value.path()).read_bytes())
    assert head["protocol"] == "bitcoin"
    assert all(record.data[4:11] == b"headers" for record in records)
    hash = lines[-1]["fields"]["headers"][0]["hash"]
    page.get_by_label("Text").fill(hash)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(hash))
    page.locator("#messages a").first.wait_for()
    page.get_by_label("Text").fill("no such words")
    page.keyboard.press("Enter")
    page.get_by_text("No message that is kept fits.").wait_for()


def test_the_list_is_held_still_and_goes_on(ours: AdminNode, visit: Callable[..., Visit]) -> None:
    there = visit(ours)
    page = inspected(there)
    page.get_by_role("button", name="Pause").click()
    held = page.inner_text("#messages")
    # What the node tells meanwhile changes nothing.
    page.locator("#messages a").first.click()
    page.locator("#message .dump").wait_for()
    assert page.inner_text("#messages") == held
    page.get_by_role("button", name="Go on").click()
    page.wait_for_function("(held) => document.querySelector('#messages').innerText !== held", arg=held)


def test_inspecting_is_ended(ours: AdminNode, visit: Callable[..., Visit]) -> None:
    there = visit(ours)
    page = inspected(there)
    page.get_by_role("button", name="Inspect no longer").click()
    page.get_by_text("Nobody inspects this peer.").wait_for()
    assert page.locator("#messages").count() == 0
    page.get_by_role("button", name="Inspect").click()
    page.locator("#messages a").first.wait_for()


def test_a_capture_is_begun_seen_ended_fetched_and_deleted(ours: AdminNode, visit: Callable[..., Visit]) -> None:
    there = visit(ours, accept_downloads=True)
    page = peer_page(there, "alpha")
    page.get_by_role("button", name="Capture").click()
    dialog = page.get_by_role("dialog", name=re.compile("^Capture"))
    dialog.get_by_label("For how long").select_option("1 minute")
    dialog.get_by_role("button", name="Begin").click()
    page.locator("#done", has_text="has begun").wait_for()
    name = re.search(r"[\w-]+\.p2pcap", page.inner_text("#done"))[0]
    page = there.at("/captures")
    row = page.locator("#captures tbody tr", has_text=name)
    row.locator(".tag", has_text="being written").wait_for()
    page.get_by_role("button", name="Capture a peer").click()
    dialog = page.get_by_role("dialog", name="Capture")
    dialog.get_by_role("button", name="Begin").click()
    page.wait_for_selector("#told:visible, #done:visible")
    page.get_by_role("button", name=f"Stop {name}").click()
    row.locator(".tag", has_text="ended").wait_for()
    with page.expect_download() as given:
        page.get_by_role("link", name=f"Download {name}").click()
    head, _ = decode(Path(given.value.path()).read_bytes())
    assert (head["agent"], head["protocol"]) == ("/alpha:1.0/", "bitcoin")
    page.get_by_role("button", name=f"Delete {name}").click()
    page.keyboard.press("Escape")
    assert row.count() == 1, "Escape is no yes"
    page.get_by_role("button", name=f"Delete {name}").click()
    page.get_by_role("dialog", name=f"Delete {name}").get_by_role("button", name="Delete").click()
    row.wait_for(state="detached")
    there.wrong[:] = [one for one in there.wrong if "409" not in one]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_both_pages_fit_and_anybody_can_use_them(
    ours: AdminNode, visit: Callable[..., Visit], screenshots: Path, size: str, scheme: str
) -> None:
    there = visit(ours, viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce")
    page = peer_page(there, "alpha")
    page.get_by_role("button", name="Capture").click()
    page.get_by_role("dialog", name=re.compile("^Capture")).get_by_role("button", name="Begin").click()
    page.wait_for_selector("#told:visible, #done:visible")
    there.wrong[:] = [one for one in there.wrong if "409" not in one]
    page = inspected(there)
    for name, act in {
        "messages": lambda: page.wait_for_selector("#messages a"),
        "message": lambda: page.locator("#messages a", has_text="headers").first.click(),
        "captures": lambda: there.at("/captures"),
    }.items():
        act()
        if name == "message":
            page.locator("#message h2", has_text="headers").wait_for()
        page.screenshot(path=screenshots / f"{name}-{size}-{scheme}.png", full_page=True)
        assert overflow(there) == "", name
        assert faults(there) == [], name
