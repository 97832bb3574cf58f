"""The tutorial as it stands: its files are taken from the pages, written where the reader would, checked and run."""

from __future__ import annotations

import configparser
import os
import re
import shutil
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from p2pframe.config.loader import load
from p2pframe.errors import ConfigError
from p2pframe.interfaces import IRelayPolicy
from p2pframe.registry import Registry
from p2pframe.testing.context import FakeContext
from tests.core.conftest import Cluster
from tests.relay.fake_link import BLOCK, TX, FakeLink, SmallNetwork, item

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "tutorial").glob("[0-9]*.md"))
FILE = re.compile(r"Write this into `([^`]+)`:\n\n```(?:python|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the reader's folder holds after the last page."""
    for page in PAGES:
        for name, text in FILE.findall(page.read_text()):
            target = tmp_path / name
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            target.write_text(text)
            os.chmod(target, 0o644)
    return tmp_path


@pytest.fixture
def policy(checkout: Path):
    """The class that the reader wrote, found as the node finds it."""
    return Registry([checkout / "my-node" / "plugins"]).find("relay", "lazy-flood")


def built_in() -> Registry:
    """What an installed p2pframe brings, so that the test does not depend on one."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.entry_points"]["p2pframe.plugins"].strip().splitlines()
    return Registry(installed=[EntryPoint(*line.split(" = "), group="p2pframe.plugins") for line in lines])


def lazy(policy, context: FakeContext, *links: FakeLink, **config):
    relay = policy(policy.__p2pframe_plugin__.config(**config), context)
    for link in links:
        relay.link_added(link)
    return relay


def test_the_pages_give_every_file_that_they_use(checkout: Path) -> None:
    written = sorted(str(path.relative_to(checkout)) for path in checkout.rglob("*") if path.is_file())
    assert written == ["my-node/node.yaml", "my-node/plugins/lazy_flood.py", "my-node/third.yaml"]


def test_the_plugin_of_the_tutorial_is_the_one_that_the_checks_see(checkout: Path) -> None:
    text = (checkout / "my-node" / "plugins" / "lazy_flood.py").read_text()
    assert text == (ROOT / "plugins" / "lazy_flood.py").read_text()
    code = text.split("@plugin(", 1)[1].splitlines()
    assert sum(bool(line.strip()) for line in code) <= 45


def test_every_config_of_the_tutorial_checks_in_the_readers_folder(checkout: Path) -> None:
    pages = [YAML.findall(page.read_text()) for page in PAGES]
    assert [len(found) for found in pages] == [1, 1, 2]
    shutil.copytree(ROOT / "plugins", checkout / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "node.yaml").write_text(pages[0][0])
    assert [choice.label for choice in load(checkout / "node.yaml", registry=built_in()).applications] == [
        "application.miner", "application.admin",
    ]  # fmt: skip
    node = checkout / "my-node" / "node.yaml"
    assert node.read_text() == pages[1][0]
    assert load(node, registry=built_in()).networks["bitcoin"].relay.label == "relay.inventory"
    node.write_text(pages[2][0])
    spec = load(node, registry=built_in())
    assert spec.networks["bitcoin"].relay.label == "relay.lazy-flood"
    assert spec.networks["bitcoin"].relay.config.delay == 0.5
    assert (
        load(checkout / "my-node" / "third.yaml", registry=built_in()).networks["bitcoin"].relay.label
        == "relay.inventory"
    )


def test_the_three_nodes_of_the_tutorial_run_and_the_third_hears_of_blocks_by_the_readers_policy(
    checkout: Path,
) -> None:
    first = YAML.findall(PAGES[0].read_text())[0]
    shutil.copytree(ROOT / "plugins", checkout / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "node.yaml").write_text(first)
    (checkout / "my-node" / "node.yaml").write_text(YAML.findall(PAGES[2].read_text())[0])
    cluster = Cluster(checkout)
    try:
        nodes = [
            cluster.start_file("127.0.0.1", path)
            for path in (
                checkout / "node.yaml",
                checkout / "my-node" / "node.yaml",
                checkout / "my-node" / "third.yaml",
            )
        ]
        chains = [node.networks["bitcoin"].protocol for node in nodes]
        cluster.net.run_until(lambda: chains[2].tip().height >= 2, limit=60.0)
        assert chains[2].tip() == chains[1].tip() == chains[0].tip()
        assert type(nodes[1].networks["bitcoin"].parts.relay).__name__ == "LazyFlood"
        assert [str(s.address) for s in nodes[2].view.sessions()] == ["127.0.0.1:18446"]
    finally:
        cluster.stop()


def test_the_mistake_that_the_tutorial_makes_is_told_as_it_says(checkout: Path) -> None:
    node = checkout / "my-node" / "node.yaml"
    node.write_text(node.read_text().replace("inventory", "inventry"))
    with pytest.raises(ConfigError, match=r"node\.yaml:12:21: .*did you mean 'inventory'"):
        load(node, registry=built_in())


def test_it_collects_for_a_moment_and_tells_everyone_else_in_one_announcement(policy) -> None:
    context = FakeContext("relay.lazy-flood")
    giver, knower, other = links = [FakeLink(n) for n in range(3)]
    relay = lazy(policy, context, *links, delay="500ms")
    verifyObject(IRelayPolicy, relay)
    relay.announced(knower, [item(1).id])
    relay.accepted(item(1), giver)
    relay.accepted(item(2), None)
    relay.accepted(item(3), None)
    relay.withdrawn(TX, [item(3).id])
    context.reactor.advance(0.4)
    assert [link.batches for link in links] == [[], [], []]
    context.reactor.advance(0.1)
    assert [link.batches for link in links] == [[[item(2)]], [[item(2)]], [[item(1), item(2)]]]
    assert context.reactor.getDelayedCalls() == []
    assert relay.may_serve(other, item(1).id)


def test_urgent_items_and_full_batches_do_not_wait(policy) -> None:
    context = FakeContext("relay.lazy-flood")
    transactions, blocks = FakeLink(1), FakeLink(1, topic=BLOCK, urgent=True)
    relay = lazy(policy, context, transactions, blocks, batch=10)
    relay.accepted(item(1, topic=BLOCK), None)
    assert blocks.announced == [item(1, topic=BLOCK)]
    for number in range(25):
        relay.accepted(item(number), None)
    assert [len(batch) for batch in transactions.batches] == [10, 10]
    assert blocks.announced == [item(1, topic=BLOCK)]


def test_what_it_keeps_is_bounded_and_what_it_leaves_out_is_counted(policy) -> None:
    context = FakeContext("relay.lazy-flood")
    link = FakeLink(1)
    relay = lazy(policy, context, link, known=100)
    for number in range(1000):
        relay.announced(link, [item(number).id])
        assert len(relay.known[link]) <= 100
    link.writable = False
    relay.accepted(item(5000), None)
    context.reactor.advance(1)
    assert link.announced == []
    assert context.metrics.value("lazy_flood_skipped_total") == 1
    relay.link_removed(link)
    relay.announced(link, [item(1).id])
    assert relay.known == {}


def test_a_ring_of_readers_nodes_spreads_everything(policy) -> None:
    world = FakeContext("relay.lazy-flood")
    network = SmallNetwork(
        [lazy(policy, world.sibling(f"relay.{n}")) for n in range(6)], [(n, (n + 1) % 6) for n in range(6)]
    )
    for number in range(30):
        network.publish(number % 6, item(number))
    for _ in range(10):
        world.reactor.advance(0.5)
    assert all(len(held) == 30 for held in network.held)
    for (a, b), link in network.links.items():
        told = [one.id for one in link.announced]
        assert len(set(told)) == len(told), (a, b)
