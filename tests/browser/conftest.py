"""Two real nodes, one of them with the web admin, and a real Chromium that looks at it.

P2PFRAME_CHROMIUM names another Chromium than Playwright's own or the machine's; P2PFRAME_SCREENSHOTS a folder for what
the pages look like.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.chromium import find
from tests.interop.processes import LOOPBACK, P2PNode, free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = "/<img src=x onerror=document.title='owned'><b>bold</b>\"'&amp;/"
"""An agent that is markup."""
PLUGINS = Path(__file__).parents[2] / "plugins"
MINER = {"plugin": "miner", "network": "bitcoin", "interval": "1s"}


class AdminNode(P2PNode):
    """A node with the web admin at `url`."""

    def __init__(self, name: str, folder: Path, network: Mapping[str, Any], mines: bool = False) -> None:
        self.url = f"http://{LOOPBACK}:{free_port()}"
        applications = [{"plugin": "admin", "listen": self.url.removeprefix("http://")}, MINER]
        config = {"node": {"plugin_path": [str(PLUGINS)]}, "networks": {"bitcoin": network}}
        super().__init__(name, folder, config | {"applications": applications if mines else applications[:1]})

    def link(self) -> str:
        """What the command line prints: it logs in once."""
        command = [sys.executable, "-m", "p2pframe.cli", "admin", "link", "-c", self.path]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def network(*peers: str, discovery: list[dict[str, Any]] | None = None, **protocol: Any) -> dict[str, Any]:
    """A network on loopback that dials `peers`."""
    found: dict[str, Any] = {
        "protocol": {"plugin": "bitcoin", "chain": "regtest"} | protocol,
        "transports": [{"plugin": "tcp", "listen": ["127.0.0.1:{port}"]}],
        "discovery": discovery if discovery is not None else [],
    }
    if peers:
        found["discovery"] = [{"plugin": "static", "peers": list(peers)}]
    return found


MakeNode = Callable[..., Any]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all; skips, or fails in CI, where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed: `tox -e browser` does that, or `pip install playwright`")
    with sync_playwright() as playwright:
        path = find(playwright.chromium.executable_path)
        if not path:
            _missing("there is no Chromium: `playwright install --with-deps chromium`, or set P2PFRAME_CHROMIUM")
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=False)
        yield browser
        browser.close()


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeNode]:
    """`nodes(name, network, admin=False, mines=False)`: a node, not started yet; it ends with the module's tests."""
    folder = tmp_path_factory.mktemp("nodes")
    with ExitStack() as stack:

        def make(name: str, network: Mapping[str, Any], *, admin: bool = False, mines: bool = False) -> P2PNode:
            if admin:
                return stack.enter_context(AdminNode(name, folder, network, mines))
            return stack.enter_context(P2PNode(name, folder, {"networks": {"bitcoin": network}}))

        yield make


class Visit:
    """A browser's page at a node, already logged in, and what went wrong on it."""

    def __init__(self, page: Page, node: AdminNode) -> None:
        self.page = page
        self.node = node
        self.wrong: list[str] = []
        page.on("console", lambda message: message.type in ("error", "warning") and self.wrong.append(message.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def enter(self) -> None:
        """By the link that the command line prints."""
        self.page.goto(self.node.link())
        self.page.wait_for_url(self.node.url + "/")

    def at(self, path: str) -> Page:
        """Another page, as soon as it follows the node."""
        self.page.goto(self.node.url + path)
        self.page.wait_for_selector("#live[data-state=live]")
        return self.page


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Visit]]:
    """`visit(node)`: logged in there, in a browser context of its own; fails where a page logs an error."""
    visits: list[Visit] = []

    def make(node: AdminNode, *, enter: bool = True, **options: Any) -> Visit:
        context = chromium.new_context(**options)
        context.set_default_timeout(20_000)
        found = Visit(context.new_page(), node)
        visits.append(found)
        if enter:
            found.enter()
        return found

    yield make
    for one in visits:
        one.page.context.close()
    assert [one.wrong for one in visits if one.wrong] == []


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where to put what pages look like."""
    folder = Path(os.environ.get("P2PFRAME_SCREENSHOTS") or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
