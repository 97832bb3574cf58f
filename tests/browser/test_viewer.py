"""Somebody who may look and not touch: no page offers anything that changes something, and the node refuses it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import HOSTILE, AdminNode, MakeNode, Visit, network
from tests.interop.processes import P2PNode

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

PAGES = ("/", "/peers", "/propagation", "/addresses", "/topology", "/bans", "/events", "/logs", "/config")
CHANGES = ("disconnect", "protect", "capture", "inspect", "capture/stop", "inspect/stop")
ASK = """async ([method, path, body]) => {
  const csrf = document.querySelector('meta[name="csrf"]').content;
  const headers = { "x-csrf-token": csrf, ...(body ? { "content-type": "application/json" } : {}) };
  return (await fetch(path, { method, headers, body: body ? JSON.stringify(body) : undefined })).status;
}"""


@pytest.fixture(scope="module")
def two(nodes: MakeNode) -> tuple[AdminNode, P2PNode]:
    """A node with the admin, and a peer of it with an agent of markup."""
    ours = nodes("watched", network(), admin=True).start()
    return ours, nodes("peer", network(ours.address, agent=HOSTILE)).start("node started")


@pytest.fixture
def viewer(two: tuple[AdminNode, P2PNode], visit: Callable[..., Visit]) -> Visit:
    """Logged in by a link for viewers."""
    there = visit(two[0], enter=False)
    command = [sys.executable, "-m", "p2pframe.cli", "admin", "link", "--role", "viewer", "-c", two[0].path]
    link = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    there.page.goto(link)
    there.page.wait_for_url(two[0].url + "/")
    return there


def peer_path(page: Page) -> str:
    """Of the one peer there is."""
    link = page.locator("#peers tbody tr a[href^='/peers/']").first
    link.wait_for()
    path = link.get_attribute("href")
    assert path is not None
    return path


def test_no_page_offers_a_change(viewer: Visit) -> None:
    path = peer_path(viewer.at("/peers"))
    for place in (*PAGES, path):
        page = viewer.at(place)
        offered = page.eval_on_selector_all("[data-do]", "all => all.map((one) => one.dataset.do)")
        assert offered == ["logout"], place
        assert page.locator("dialog").count() == 0, place
        assert page.locator("a[href$='/messages'], a[href^='/captures'], a[href*='/capture']").count() == 0, place
        assert page.evaluate("document.title") != "owned"


def test_what_it_asks_for_all_the_same_is_refused(viewer: Visit) -> None:
    page = viewer.at("/peers")
    path = peer_path(page)
    bodies = {"disconnect": {"reason": "x"}, "protect": {"protected": True}, "capture": {"seconds": 60}}
    asked = [("POST", f"/api/v1{path}/{one}", bodies.get(one)) for one in CHANGES]
    asked += [
        ("POST", "/api/v1/bans", {"subject": "192.0.2.1", "duration": 60, "reason": "x"}),
        ("POST", "/api/v1/bans/lift", {"subject": "192.0.2.1"}),
        ("POST", "/api/v1/connect", {"network": "bitcoin", "address": "127.0.0.1:1"}),
        ("POST", "/api/v1/config/check", {"values": {}}), ("POST", "/api/v1/config/apply", {"values": {}}),
        ("POST", "/api/v1/config/rollback", {"number": 1}), ("GET", f"/api/v1{path}/inspect", None),
        ("GET", "/api/v1/inspections", None), ("GET", "/api/v1/captures", None), ("GET", "/captures", None),
        ("GET", f"{path}/messages", None),
    ]  # fmt: skip
    for one in asked:
        assert page.evaluate(ASK, one) == 403, one
    # The browser says so of each; nothing else went wrong.
    assert len(viewer.wrong) == len(asked) and all("403" in said for said in viewer.wrong), viewer.wrong
    viewer.wrong.clear()


def test_it_sees_what_happens_and_logs_out(viewer: Visit) -> None:
    page = viewer.at("/peers")
    peer_path(page)
    assert "onerror" in page.inner_text("#peers"), "as text"
    page.click("text=Log out")
    page.wait_for_url("**/login")


def test_a_viewer_and_an_operator_of_one_node_each_see_their_own_page(
    two: tuple[AdminNode, P2PNode], viewer: Visit, visit: Callable[..., Visit]
) -> None:
    operator = visit(two[0])
    path = peer_path(operator.at("/peers"))
    for place in ("/peers", path, "/bans", "/config"):
        pages = [one.at(place) for one in (operator, viewer, operator, viewer)]
        # As a page that refreshes itself asks, which is where what was made is shared.
        found = [
            page.evaluate("async () => (await fetch(location.href, { headers: { 'x-refresh': '1' } })).text()")
            for page in pages
        ]
        tokens = [page.get_attribute("meta[name=csrf]", "content") for page in pages]
        assert tokens[0] != tokens[1]
        for text, token, other in zip(found, tokens, tokens[1:] + tokens[:1], strict=True):
            assert token is not None and other is not None
            assert token in text and (token == other or other not in text), place
        assert ["data-do=\"ban\"" in text or "data-do=\"change\"" in text or "data-do=\"keepout\"" in text
                for text in found] == [True, False, True, False], place  # fmt: skip


def test_what_is_refused_is_told_on_a_page_with_a_way_on(viewer: Visit, screenshots: Path) -> None:
    told = (("/captures", 403, "This takes the role operator."), ("/nothing", 404, "There is nothing at /nothing."),
            ("/logs?level=bad", 422, "What was asked for can't be:"))  # fmt: skip
    for width in (360, 1440):
        viewer.page.set_viewport_size({"width": width, "height": 700})
        for place, status, text in told:
            answer = viewer.page.goto(viewer.node.url + place)
            assert answer is not None and answer.status == status
            assert text in viewer.page.locator("main").inner_text()
            assert viewer.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (place, width)
            viewer.page.screenshot(path=screenshots / f"refused-{status}-{width}.png")
    viewer.page.get_by_role("link", name="To the overview").click()
    viewer.page.wait_for_url(viewer.node.url + "/")
    # A browser says on its console what was refused, and nothing else is wrong.
    assert all(f"{status}" in said for (_, status, _), said in zip(told * 2, viewer.wrong, strict=True)), viewer.wrong
    viewer.wrong.clear()
