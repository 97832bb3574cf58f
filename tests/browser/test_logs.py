"""The log's page in a browser; who logs in with a password; and what a viewer's link shows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import AdminNode, MakeNode, Visit, network
from tests.browser.test_looks import SIZES, faults, overflow

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery staple"


def command(node: AdminNode, *more: str, given: str = "") -> str:
    """What `p2pframe admin` prints."""
    line = [sys.executable, "-m", "p2pframe.cli", "admin", *more, "-c", str(node.path)]
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=60, input=given).stdout.strip()


@pytest.fixture(scope="module")
def node(nodes: MakeNode) -> AdminNode:
    """A node with one peer, and a password."""
    target = nodes("target", network(agent="/target:1.0/")).start()
    ours = nodes("ours", network(target.address), admin=True)
    said = command(ours, "password", "--stdin", given=PASSWORD + "\n").splitlines()[-1]
    name = said.partition("password_file: ")[2]
    ours.path.write_text(ours.path.read_text().replace("plugin: admin", f"plugin: admin\n  password_file: {name}"))
    return ours.start("peer " + target.address)


def lines(visit: Visit) -> list[str]:
    return visit.page.locator("#lines tbody td.line").all_inner_texts()


def test_lines_come_live_stand_still_on_demand_and_are_chosen(node: AdminNode, visit: Callable[..., Visit]) -> None:
    there = visit(node)
    page = there.at("/logs")
    assert any("node started" in one for one in lines(there))
    page.locator("#lines tbody details summary").first.click()
    page.evaluate("fetch('/api/v1/bans', {method: 'POST', headers: {'content-type': 'application/json', 'x-csrf-token':"
                  " document.querySelector('meta[name=csrf]').content}, body: JSON.stringify({subject: '192.0.2.77',"
                  " duration: 60, reason: 'for the log'})})")  # fmt: skip
    page.wait_for_selector("#lines td.line:has-text('banned by a person')")
    assert page.locator("#lines details[open]").count() == 1, "what somebody has opened stays open"
    page.click("#pause")
    assert page.text_content("#pause") == "Go on"
    page.evaluate("fetch('/api/v1/bans/lift', {method: 'POST', headers: {'content-type': 'application/json',"
                  " 'x-csrf-token': document.querySelector('meta[name=csrf]').content}, body: JSON.stringify({subject:"
                  " '192.0.2.77'})}).then(() => document.body.dataset.lifted = 'yes')")  # fmt: skip
    page.wait_for_selector("body[data-lifted]")
    other = visit(node)
    other.at("/logs")
    other.page.wait_for_selector("#lines td.line:has-text('unbanned by')")
    assert not any("unbanned by" in one for one in lines(there)), "paused"
    page.click("#pause")
    page.wait_for_selector("#lines td.line:has-text('unbanned by')")
    page.select_option("#level", "critical")
    page.wait_for_url("**/logs?level=critical*")
    assert "No line of the log fits" in page.inner_text("#lines")
    page.goto(node.url + "/logs?namespace=node&text=STARTED")
    assert len(lines(there)) == 1


def test_it_works_without_scripts(node: AdminNode, visit: Callable[..., Visit]) -> None:
    with_scripts = visit(node)
    bare = visit(node, enter=False, java_script_enabled=False)
    bare.page.context.add_cookies(with_scripts.page.context.cookies())
    bare.page.goto(node.url + "/logs")
    bare.page.select_option("#level", "warn")
    bare.page.fill("#namespace", "node")
    bare.page.click("#choose button:has-text('Show')")
    assert bare.page.url.endswith("/logs?level=warn&namespace=node&text=")
    assert "No line of the log fits" in bare.page.inner_text("#lines")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_log_and_the_login_fit_and_anybody_can_use_them(
    node: AdminNode, visit: Callable[..., Visit], screenshots: Path, size: str, scheme: str
) -> None:
    there = visit(node, viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce")
    page = there.at("/logs")
    page.locator("#lines tbody details summary").first.click()
    page.screenshot(path=screenshots / f"logs-{size}-{scheme}.png", full_page=size == "phone")
    assert overflow(there) == ""
    assert faults(there) == []
    there.at("/config")
    page.locator("#audit").scroll_into_view_if_needed()
    page.screenshot(path=screenshots / f"audit-{size}-{scheme}.png")
    assert overflow(there) == ""
    page.click("[data-do=logout]")
    page.wait_for_selector("#password")
    page.screenshot(path=screenshots / f"password-{size}-{scheme}.png", full_page=size == "phone")
    assert overflow(there) == ""
    assert faults(there) == []


def test_the_password_logs_in_and_a_wrong_one_is_said(node: AdminNode, visit: Callable[..., Visit]) -> None:
    there = visit(node, enter=False)
    page = there.page
    page.goto(node.url + "/")
    page.wait_for_url("**/login")
    page.fill("#password", "not the password")
    page.press("#password", "Enter")
    page.wait_for_selector("#told:has-text('The password is wrong')")
    page.fill("#password", PASSWORD)
    page.press("#password", "Enter")
    page.wait_for_url(node.url + "/")
    assert page.locator("[data-do=logout]").is_visible()
    # The browser itself tells the console of the answer 403.
    there.wrong[:] = [one for one in there.wrong if "403" not in one]


def test_a_viewer_sees_every_page_and_no_button_that_changes_anything(
    node: AdminNode, visit: Callable[..., Visit]
) -> None:
    there = visit(node, enter=False)
    page = there.page
    page.goto(command(node, "link", "--role", "viewer"))
    page.wait_for_url(node.url + "/")
    paths = [one.get_attribute("href") for one in page.locator("nav a").all()]
    there.at("/peers")
    paths.append(page.locator("#peers tbody a").first.get_attribute("href"))
    for path in paths:
        there.at(path)
        doing = page.locator("[data-do]").evaluate_all("all => all.map((one) => one.dataset.do)")
        assert set(doing) <= {"logout"}, path
    status = page.evaluate("""async () => (await fetch("/api/v1/bans", { method: "POST", headers: {
        "content-type": "application/json", "x-csrf-token": document.querySelector("meta[name=csrf]").content },
        body: JSON.stringify({ subject: "192.0.2.1", duration: 60, reason: "may I?" }) })).status""")
    assert status == 403
    page.goto(node.url + "/bans")
    assert "192.0.2.1" not in page.inner_text("main")
    there.wrong[:] = [one for one in there.wrong if "403" not in one]
