"""Pages whose requests are too many: they stay as they are, wait as long as they are told, and go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import AdminNode, MakeNode, Visit, network

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def ours(nodes: MakeNode) -> AdminNode:
    """A node with the admin and a peer."""
    node = nodes("ours", network(), admin=True).start()
    nodes("peer", network(node.address)).start("node started")
    return node


def refuse(page: Page, where: str, times: int) -> list[int]:
    """The next so many requests there are refused; what each was answered."""
    answers: list[int] = []

    def answer(route: Route) -> None:
        answers.append(429 if len(answers) < times else 200)
        if answers[-1] == 200:
            route.continue_()
            return
        problem = '{"type": "about:blank", "title": "Too many requests", "status": 429, "detail": "wait"}'
        headers = {"retry-after": "1", "content-type": "application/problem+json"}
        route.fulfill(status=429, headers=headers, body=problem)

    page.route(where, answer)
    return answers


def told(there: Visit, times: int) -> None:
    """The browser's own line on each refusal is all that went wrong."""
    assert len(there.wrong) == times and all("429" in one for one in there.wrong), there.wrong
    there.wrong.clear()


def test_a_page_waits_and_goes_on_and_so_does_what_is_done_on_it(ours: AdminNode, visit: Callable[..., Visit]) -> None:
    there = visit(ours)
    page = there.at("/peers")
    page.locator("#peers tbody tr").wait_for()
    place = page.url
    answers = refuse(page, "**/peers", 2)
    with page.expect_response(lambda one: one.url == place and one.status in (200, 304), timeout=30_000):
        pass
    assert answers[:3] == [429, 429, 200]
    assert page.url == place and page.locator("#peers tbody tr").count() == 1
    assert page.locator("#told").is_hidden(), "who did nothing is told nothing"
    page.unroute("**/peers")
    answers = refuse(page, "**/protect", 2)
    page.locator("#peers tbody tr a[href^='/peers/']").first.click()
    page.wait_for_selector("#live[data-state=live]")
    page.locator("button[data-do=protect]").click()
    page.locator("#done", has_text="protected").wait_for()
    assert answers == [429, 429, 200]
    told(there, 4)


def test_a_stream_that_is_refused_is_asked_for_again(ours: AdminNode, visit: Callable[..., Visit]) -> None:
    there = visit(ours)
    answers = refuse(there.page, "**/events/stream", 1)
    there.page.goto(ours.url + "/events")
    there.page.wait_for_selector("#live[data-state=gone]")
    there.page.wait_for_selector("#live[data-state=live]", timeout=30_000)
    assert answers == [429, 200]
    told(there, 1)
