"""What others choose is shown by the browser with all of it to be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from p2pframe.visible import visible_lines
from tests.browser.conftest import AdminNode, MakeNode, network

if TYPE_CHECKING:
    from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser

REASON = "an \u202elie\u2066 \u200b\x1b of é中文😀"
CHANGED = """async () => {
  const { visible } = await import("/static/api.js");
  const found = [];
  for (let code = 0; code < 0x110000; code++) {
    const one = String.fromCodePoint(code);
    if (visible(one) !== one) found.push(code);
  }
  return [found, visible("a\\x1b\\u202e\\u{e0041}\\n\\tz")];
}"""
BAN = """async ([reason, subject]) => {
  const { ask, done } = await import("/static/api.js");
  await ask("POST", "/api/v1/bans", { subject, reason, duration: 600, scope: "node" });
  done(`banned: ${reason}`);
}"""


@pytest.fixture(scope="module")
def node(nodes: MakeNode) -> AdminNode:
    """A node of its own, with nobody there."""
    found: AdminNode = nodes("seen", network(), admin=True).start()
    return found


def test_the_scripts_and_the_node_spell_out_the_same_characters(node: AdminNode, visit: Callable[..., Visit]) -> None:
    changed, said = visit(node).at("/").evaluate(CHANGED)
    wanted = [code for code in range(0x110000) if visible_lines(chr(code)) != chr(code)]
    assert set(changed) ^ set(wanted) == set()
    assert said == "a\\x1b\\u202e\\U000e0041\n\tz"


def test_a_reason_reads_the_right_way_round(node: AdminNode, visit: Callable[..., Visit]) -> None:
    page = visit(node).at("/bans")
    page.evaluate(BAN, [REASON, "192.0.2.99"])
    assert page.inner_text("#done") == f"Banned: {visible_lines(REASON)}"
    row = page.locator("tr[data-key*='192.0.2.99']").first
    row.wait_for()
    assert "an \\u202elie\\u2066 \\u200b\\x1b of é中文😀" in row.inner_text()
    with page.expect_response(lambda answer: answer.url.endswith("/bans/lift") and answer.status == 204):
        row.get_by_role("button").first.click()
