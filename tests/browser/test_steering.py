"""What an operator does: comes in by the link, sees peers come and go, ends sessions, keeps addresses out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import HOSTILE, AdminNode, MakeNode, Visit, network
from tests.interop.processes import P2PNode

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def ours(nodes: MakeNode, request: pytest.FixtureRequest) -> AdminNode:
    """A node with the admin, whom nobody knows yet."""
    return nodes(f"ours-{request.node.name}", network(), admin=True).start()


@pytest.fixture
def join(nodes: MakeNode, request: pytest.FixtureRequest) -> Callable[[AdminNode, str], P2PNode]:
    """`join(ours, agent)`: one more node, which dials ours."""

    def make(ours: AdminNode, agent: str) -> P2PNode:
        config = network(ours.address, agent=agent)
        name = re.sub(r"\W", "", agent)
        return nodes(f"{name}-{request.node.name}", config).start("node started")

    return make


def wait_for_peers(page: Page, *agents: str) -> None:
    for agent in agents:
        page.locator("#peers tbody tr", has_text=agent).wait_for()


def shown(page: Page, column: int) -> list[str]:
    """The texts of a column, as far as a filter leaves them."""
    return [one.inner_text() for one in page.locator(f"#peers tbody tr:visible td:nth-child({column})").all()]


def test_the_link_opens_the_admin_once(ours: AdminNode, visit: Callable[..., Visit]) -> None:
    there = visit(ours, enter=False)
    link = ours.link()
    there.page.goto(link)
    there.page.wait_for_url(ours.url + "/")
    assert there.page.inner_text("h1") == "Overview"
    # The code is in no history: going back leads to no page that has it.
    assert "#" not in there.page.evaluate("document.referrer + location.href")
    other = visit(ours, enter=False)
    other.page.goto(link)
    other.page.wait_for_selector("#told:visible")
    assert other.page.inner_text("#told") == "The code is used: make a new one"
    assert "403" in other.wrong.pop()
    assert "#" not in other.page.url


def test_a_wrong_code_is_refused_in_words(ours: AdminNode, visit: Callable[..., Visit]) -> None:
    there = visit(ours, enter=False)
    page = there.page
    page.goto(ours.url + "/peers")
    page.wait_for_url(ours.url + "/login")
    page.fill("#code", "surely-not")
    page.click("#login button")
    page.wait_for_selector("#told:visible")
    assert page.inner_text("#told") == "The code is unknown: make a new one"
    assert "403" in there.wrong.pop()
    # A link pasted whole is as good as its code.
    page.fill("#code", ours.link())
    page.click("#login button")
    page.wait_for_url(ours.url + "/")


def test_peers_come_live_and_are_sorted_and_filtered(
    ours: AdminNode, join: Callable[[AdminNode, str], P2PNode], visit: Callable[..., Visit]
) -> None:
    there = visit(ours)
    page = there.at("/peers")
    assert "No peer is connected" in page.inner_text("main")
    page.evaluate("window.stayed = true")
    for agent in ("/bravo:1.0/", "/alpha:1.0/", "/charlie:1.0/"):
        join(ours, agent)
        wait_for_peers(page, agent)
    assert page.evaluate("window.stayed"), "the page was loaded again"
    agent = page.locator("#peers thead th", has_text="Agent")
    agent.get_by_role("button").click()
    assert shown(page, 4) == ["/alpha:1.0/", "/bravo:1.0/", "/charlie:1.0/"]
    assert agent.get_attribute("aria-sort") == "ascending"
    agent.get_by_role("button").click()
    assert shown(page, 4) == ["/charlie:1.0/", "/bravo:1.0/", "/alpha:1.0/"]
    page.fill("#filter", "in brav")
    assert shown(page, 4) == ["/bravo:1.0/"]
    assert page.inner_text("#count") == "1 of 3 peers"
    # The order and the filter outlast what changes by itself, and so does the focus.
    join(ours, "/bravo:2.0/")
    page.locator("#count", has_text="2 of 4 peers").wait_for()
    assert shown(page, 4) == ["/bravo:2.0/", "/bravo:1.0/"]
    assert page.evaluate("document.activeElement.id") == "filter"
    assert page.input_value("#filter") == "in brav"


def test_disconnecting_is_seen(
    ours: AdminNode, join: Callable[[AdminNode, str], P2PNode], visit: Callable[..., Visit]
) -> None:
    there = visit(ours)
    join(ours, "/alpha:1.0/")
    page = there.at("/peers")
    wait_for_peers(page, "/alpha:1.0/")
    address = shown(page, 2)[0]
    page.get_by_role("button", name=f"Disconnect {address}").click()
    dialog = page.get_by_role("dialog", name=f"Disconnect {address}")
    # Without a reason nothing is done.
    dialog.get_by_role("button", name="Disconnect").click()
    assert dialog.is_visible()
    dialog.get_by_label("Reason").fill("too quiet for us")
    dialog.get_by_role("button", name="Disconnect").click()
    page.get_by_text(f"{address} is disconnected.").wait_for()
    page.locator("#peers tbody tr", has_text=address).wait_for(state="detached")
    page = there.at("/events")
    page.locator("#events tbody tr", has_text="too quiet for us").first.wait_for()


def test_a_ban_keeps_away_until_it_is_lifted(
    ours: AdminNode, join: Callable[[AdminNode, str], P2PNode], visit: Callable[..., Visit]
) -> None:
    there = visit(ours)
    theirs = join(ours, "/alpha:1.0/")
    page = there.at("/peers")
    wait_for_peers(page, "/alpha:1.0/")
    page.get_by_role("button", name=re.compile("^Ban 127.0.0.1")).click()
    dialog = page.get_by_role("dialog", name="Ban 127.0.0.1")
    dialog.get_by_label("Reason").fill(f"bad manners {HOSTILE}")
    dialog.get_by_label("For how long").select_option("1 week")
    dialog.get_by_role("button", name="Ban").click()
    page.get_by_text("127.0.0.1 is banned.").wait_for()
    page.get_by_text("No peer is connected").wait_for()
    # It dials again and is refused: that is seen live.
    page = there.at("/events")
    page.locator("#events tbody tr .tag", has_text="refused").first.wait_for()
    assert "No peer is connected" in there.at("/peers").inner_text("main")
    page = there.at("/bans")
    ban = page.locator("#bans tbody tr", has_text="127.0.0.1")
    assert f"bad manners {HOSTILE}" in ban.inner_text()
    assert "in 6 d 23 h" in ban.inner_text()
    assert page.locator("main img, main b").count() == 0
    page.get_by_role("button", name="Lift the ban of 127.0.0.1").click()
    page.get_by_text("127.0.0.1 is let in again.").wait_for()
    page.get_by_text("Nobody is kept out.").wait_for()
    theirs.kill()
    join(ours, "/delta:1.0/")
    wait_for_peers(there.at("/peers"), "/delta:1.0/")


def test_dialling_and_protecting(ours: AdminNode, nodes: MakeNode, visit: Callable[..., Visit]) -> None:
    target = nodes("target", network(agent="/target:1.0/")).start()
    there = visit(ours)
    page = there.at("/peers")
    page.get_by_role("button", name="Connect to a peer").click()
    dialog = page.get_by_role("dialog", name="Connect to a peer")
    dialog.get_by_label("Address").fill("no address at all")
    dialog.get_by_role("button", name="Connect").click()
    page.wait_for_selector("#told:visible")
    assert "422" in there.wrong.pop()
    page.get_by_role("button", name="Connect to a peer").click()
    assert dialog.get_by_label("Address").input_value() == ""
    dialog.get_by_label("Address").fill(target.address)
    dialog.get_by_role("button", name="Connect").click()
    page.get_by_text(f"{target.address} is connected").wait_for()
    wait_for_peers(page, "/target:1.0/")
    page.locator("#peers tbody a").click()
    page.locator("h1", has_text=target.address).wait_for()
    page.wait_for_selector("#live[data-state=live]")
    # Whom an operator dials is protected from the start.
    page.get_by_role("button", name="Protect no longer").click()
    page.locator("dd .tag", has_text="protected").wait_for(state="detached")
    page.get_by_role("button", name="Protect", exact=True).click()
    page.locator("dd .tag", has_text="protected").wait_for()
    # Who goes while one looks is told of, and no half page is left.
    target.kill()
    page.get_by_text("This peer is connected no longer.").wait_for()
    there.wrong[:] = [one for one in there.wrong if "404" not in one]
    assert page.inner_text("h1") == target.address


def test_all_of_it_by_the_keyboard(
    ours: AdminNode, join: Callable[[AdminNode, str], P2PNode], visit: Callable[..., Visit]
) -> None:
    join(ours, "/alpha:1.0/")
    there = visit(ours)
    page = there.at("/peers")
    wait_for_peers(page, "/alpha:1.0/")
    wanted = set(page.evaluate(f"[...document.querySelectorAll({SHOWN!r})].filter((one) => one.checkVisibility())"
                               ".map((one, at) => { one.at = String(at); return one.at; })"))  # fmt: skip
    reached = set()
    for _ in range(len(wanted) + 5):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement?.at ?? ''"))
        seen = "document.activeElement.at && getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(seen) != "none", page.evaluate("document.activeElement.outerHTML")
    assert wanted <= reached
    button = page.locator("[data-do=ban]").first
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#ask-ban[open]")
    assert page.evaluate("document.activeElement.id") == "ban-reason"
    page.keyboard.press("Escape")
    page.wait_for_selector("#ask-ban", state="hidden")
    assert page.evaluate("document.activeElement.dataset.do") == "ban"
    # Escape was no yes.
    assert "Nobody is kept out" in there.at("/bans").inner_text("main")
    page = there.at("/peers")
    page.locator("[data-do=ban]").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.type("typed, not clicked")
    page.keyboard.press("Enter")
    page.get_by_text("127.0.0.1 is banned.").wait_for()
    page = there.at("/bans")
    page.keyboard.press("Tab")
    assert "skip" in page.evaluate("document.activeElement.outerHTML")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


SHOWN = "a[href], button, input, select, [tabindex='0']"


def test_logging_out_ends_it(ours: AdminNode, visit: Callable[..., Visit]) -> None:
    there = visit(ours)
    page = there.at("/")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(ours.url + "/login")
    page.goto(ours.url + "/config")
    page.wait_for_url(ours.url + "/login")
