"""Several networks in one node.

Each with plugins, identity and addresses of its own; storage, bans and metrics are the node's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pframe.config import load
from p2pframe.core.node import Node
from p2pframe.errors import ConfigError, StartError
from p2pframe.interfaces import IItems
from p2pframe.model import Action, Fact, Floor, FoundAddress, PeerAddress

ALICE, BOB = "192.0.2.1", "198.51.100.1"
PLUGINS = Path(__file__).parents[2] / "plugins"

TEMPLATE = """
version: 1
node: {{data_dir: {name}-data, plugin_path: ["{plugins}"], watchdog: 0, discourage_loopback: true}}
storage: {{plugin: sqlite}}
{applications}
networks:
  chat:
    protocol: {{plugin: lines}}
    transports: [{{plugin: tls, listen: ["0.0.0.0:7001"]}}]
    discovery: {chat}
    relay: {{plugin: flood}}
    scoring: [{{plugin: latency}}]
    limits: {{manual_retry_first: 1h, {chat_limits}}}
  news:
    protocol: {{plugin: lines, first_word: "news"}}
    transports: [{{plugin: tls, listen: ["0.0.0.0:7002"]}}]
    discovery: {news}
    relay: {{plugin: inventory}}
    topology: {{plugin: near, inbound: 3}}
    scoring: [{{plugin: weighted, dry_run: true}}, {{plugin: behaviour}}]
    validators: [{{plugin: quota, items: 100}}]
    item_stores: {{line: {{plugin: recent}}}}
    limits: {{manual_retry_first: 1h}}
{more}
"""


def write(cluster, name, peer=None, more="", applications="", chat_limits="messages_per_second: 400"):
    def discovery(port):
        return f'[{{plugin: static, peers: ["{peer}:{port}"]}}]' if peer else "[]"

    path = cluster.folder / f"{name}.yaml"
    path.write_text(
        TEMPLATE.format(
            name=name, plugins=PLUGINS, chat=discovery(7001), news=discovery(7002), more=more,
            applications=applications,
            chat_limits=chat_limits,
        )
    )  # fmt: skip
    return path


def opened(node, network):
    return [session for session in node.view.sessions(network) if session.state == "open"]


def lines_of(node, network):
    return node.networks[network].protocol.lines()


def say(cluster, node, network, text):
    return cluster.wait(node.networks[network].protocol.say(text)).outcome.value


@pytest.fixture
def two(cluster):
    """Alice, and Bob who has dialled both of her networks."""
    alice = cluster.start_file(ALICE, write(cluster, "alice"))
    bob = cluster.start_file(BOB, write(cluster, "bob", ALICE))
    cluster.net.run_until(lambda: all(opened(node, name) for node in (alice, bob) for name in ("chat", "news")))
    return alice, bob


def test_what_is_said_in_one_is_not_heard_in_the_other(cluster, two):
    alice, bob = two
    assert say(cluster, alice, "chat", "hello") == "accept"
    assert say(cluster, bob, "news", "news of the day") == "accept"
    cluster.net.run_until(lambda: lines_of(bob, "chat") == ["hello"] and lines_of(alice, "news") == ["news of the day"])
    cluster.net.run(2.0)
    assert lines_of(alice, "chat") == lines_of(bob, "chat") == ["hello"]
    assert lines_of(alice, "news") == lines_of(bob, "news") == ["news of the day"]


def test_each_has_the_plugins_that_its_part_of_the_config_names(cluster, two):
    alice, _ = two
    chat, news = (alice.networks[name] for name in ("chat", "news"))
    assert [type(n.parts.relay).__name__ for n in (chat, news)] == ["FloodRelay", "InventoryRelay"]
    assert [type(n.topology).__name__ for n in (chat, news)] == ["RandomTopology", "NearTopology"]
    assert [type(n.parts.stores["line"]).__name__ for n in (chat, news)] == ["LineStore", "RecentStore"]
    assert chat.protocol is not news.protocol and chat.book is not news.book and chat.scheduler is not news.scheduler
    assert (chat.limits.messages_per_second, news.limits.messages_per_second) == (400, 500)
    assert say(cluster, alice, "news", "gossip") == "reject"
    assert say(cluster, alice, "chat", "gossip") == "accept"
    cluster.net.run(11.0)
    assert [[score.scorer for score in opened(alice, name)[0].scores] for name in ("chat", "news")] == [
        ["latency"],
        ["weighted", "behaviour"],
    ]


def test_each_has_an_identity_of_its_own_which_it_keeps(cluster, two):
    alice, bob = two
    ids = {name: opened(bob, name)[0].peer_id for name in ("chat", "news")}
    assert None not in ids.values() and ids["chat"] != ids["news"]
    cluster.stop()
    alice, bob = (
        cluster.start_file(at, cluster.folder / f"{name}.yaml") for at, name in ((ALICE, "alice"), (BOB, "bob"))
    )
    cluster.net.run_until(lambda: opened(bob, "chat") and opened(bob, "news"))
    assert {name: opened(bob, name)[0].peer_id for name in ("chat", "news")} == ids
    keys = sorted(path for path in (cluster.folder / "alice-data").rglob("*.pem"))
    assert len({path.parent.parent for path in keys}) == 2
    assert len({path.read_bytes() for path in keys if b"PRIVATE" in path.read_bytes()}) == 2


def test_each_has_addresses_of_its_own_in_the_one_storage(cluster, two):
    alice, _ = two
    chat, news = (alice.networks[name].book for name in ("chat", "news"))
    chat.add([FoundAddress(PeerAddress(f"203.0.{n}.1", 7001)) for n in range(20)], "static")
    news.add([FoundAddress(PeerAddress("203.0.113.77", 7002))], "static")
    known = chat.size
    assert known > 10 and news.size == 1
    cluster.stop()
    again = cluster.start_file(ALICE, cluster.folder / "alice.yaml")
    books = {name: again.networks[name].book for name in ("chat", "news")}
    assert {name: book.size for name, book in books.items()} == {"chat": known, "news": 1}
    assert PeerAddress("203.0.113.77", 7002) in books["news"] and PeerAddress("203.0.113.77", 7002) not in books["chat"]


def test_a_ban_of_the_node_ends_sessions_in_both_and_keeps_the_peer_out_of_both(cluster, two):
    alice, bob = two
    cluster.wait(alice.control.ban(BOB, 3600.0, "too loud"))
    cluster.net.run_until(lambda: not alice.view.sessions())
    for name in ("chat", "news"):
        port = {"chat": 7001, "news": 7002}[name]
        connecting = bob.control.connect(name, PeerAddress(ALICE, port))
        connecting.addErrback(lambda failure: None)
    cluster.net.run(5.0)
    assert not opened(alice, "chat") and not opened(alice, "news")
    refused = {event.network for event in alice.view.events() if event.kind == "peer.refused"}
    assert refused == {"chat", "news"}
    assert cluster.wait(alice.control.unban(BOB))


def test_a_ban_of_one_network_leaves_the_other_alone_also_over_a_restart(cluster, two):
    alice, _ = two
    cluster.wait(alice.control.ban(BOB, 36000.0, "off topic", scope="news"))
    cluster.net.run_until(lambda: not opened(alice, "news"))
    cluster.net.run(2.0)
    assert opened(alice, "chat") and not opened(alice, "news")
    cluster.stop()
    alice, bob = (
        cluster.start_file(at, cluster.folder / f"{name}.yaml") for at, name in ((ALICE, "alice"), (BOB, "bob"))
    )
    cluster.net.run_until(lambda: opened(alice, "chat"))
    cluster.net.run(3.0)
    assert not opened(alice, "news")
    with pytest.raises(ValueError, match="no network 'nwes'"):
        alice.control.ban(BOB, 1.0, "a typing error", scope="nwes")


@pytest.mark.parametrize("network", ["chat", "news"])
def test_what_the_node_does_by_itself_holds_only_where_it_was_earned(cluster, two, network):
    alice, _ = two
    other = {"chat": "news", "news": "chat"}[network]
    (session,) = alice.networks[network].sessions.values()
    session.fact(Fact("misbehaved", Floor.END_AND_DISCOURAGE, "seen", proven=True))
    for penalty in alice.view.penalties():
        assert (penalty.subject, penalty.scope, penalty.action) == (BOB, network, Action.DISCOURAGE)
    assert len(alice.view.penalties()) == 1
    cluster.net.run(2.0)
    assert opened(alice, other)
    here, there = (alice.networks[name].gate for name in (network, other))
    assert not here.dial(PeerAddress(BOB, 7001)) and there.dial(PeerAddress(BOB, 7001))


def test_metrics_are_told_apart_by_the_networks_name(cluster, two):
    alice, _ = two
    for number in range(3):
        say(cluster, alice, "chat", f"line {number}")
    say(cluster, alice, "news", "news")
    shown = alice.metrics.exposition().decode()
    assert 'p2pframe_items_total{network="chat",outcome="accept",topic="line"} 3.0' in shown
    assert 'p2pframe_items_total{network="news",outcome="accept",topic="line"} 1.0' in shown
    assert {key[0] for key in alice.metrics.snapshot()["p2pframe_sessions_opened_total"]} == {"chat", "news"}


def test_one_is_restarted_while_the_other_goes_on(cluster, two):
    alice, _ = two
    (before,) = opened(alice, "chat")
    chat, news = alice.networks["chat"], alice.networks["news"]
    path = cluster.folder / "alice.yaml"
    path.write_text(path.read_text().replace('first_word: "news"', 'first_word: "olds"'))
    done = cluster.wait(alice.control.reconfigure(path))
    assert "networks.news was restarted" in done
    assert alice.networks["chat"] is chat and alice.networks["news"] is not news
    assert [session.id for session in opened(alice, "chat")] == [before.id]
    assert say(cluster, alice, "news", "olds and ends") == "accept"
    assert {row.name for row in alice.view.networks()} == {"chat", "news"}


def test_live_limits_of_one_change_nothing_in_the_other(cluster, two):
    alice, _ = two
    cluster.wait(alice.control.reconfigure(write(cluster, "alice", chat_limits="messages_per_second: 7")))
    assert [alice.networks[name].limits.messages_per_second for name in ("chat", "news")] == [7, 500]
    assert opened(alice, "chat") and opened(alice, "news")


def test_a_network_is_added_and_taken_away_while_the_others_go_on(cluster, two):
    alice, _ = two
    third = "  third:\n    protocol: {plugin: lines}\n    transports: [{plugin: tcp, listen: ['0.0.0.0:7003']}]\n"
    cluster.wait(alice.control.reconfigure(write(cluster, "alice", more=third)))
    assert list(alice.networks) == ["chat", "news", "third"]
    assert opened(alice, "chat") and opened(alice, "news")
    assert (ALICE, 7003) in cluster.listening
    cluster.wait(alice.control.reconfigure(write(cluster, "alice")))
    assert list(alice.networks) == ["chat", "news"]
    assert (ALICE, 7003) not in cluster.listening


def test_an_application_reaches_each_by_its_name(cluster, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir(mode=0o755)
    (folder / "bridge.py").write_text(BRIDGE)
    (folder / "bridge.py").chmod(0o644)
    path = write(cluster, "alice", applications="applications: [{plugin: bridge, source: chat, target: news}]")
    path.write_text(path.read_text().replace("plugin_path: [", f'plugin_path: ["{folder}", '))
    alice = cluster.start_file(ALICE, path)
    bob = cluster.start_file(BOB, write(cluster, "bob", ALICE))
    cluster.net.run_until(lambda: opened(bob, "chat") and opened(bob, "news"))
    say(cluster, bob, "chat", "hello")
    say(cluster, bob, "chat", "news that belongs there too")
    cluster.net.run_until(lambda: lines_of(bob, "news") == ["news that belongs there too"])
    assert lines_of(alice, "chat") == ["hello", "news that belongs there too"]


BRIDGE = '''"""Passes what one network accepts on to another one that knows the same items."""

from zope.interface import implementer

from p2pframe.interfaces import IApplication, IContext, IItems
from p2pframe.model import Topic
from p2pframe.plugin import Field, PluginConfig, plugin


class BridgeConfig(PluginConfig):
    """From where to where."""

    source: str = Field(description="A network.")
    target: str = Field(description="Another one.")


@plugin("bridge", config=BridgeConfig)
@implementer(IApplication)
class Bridge:
    """Passes lines on from one network to another."""

    name = "bridge"

    def __init__(self, config: BridgeConfig, context: IContext) -> None:
        self.source = context.service(IItems, network=config.source)
        self.target = context.service(IItems, network=config.target)

    def start(self) -> None:
        self.end = self.source.subscribe(Topic("line"), lambda item, source: self.target.publish(item) and None)

    def stop(self) -> None:
        self.end()
'''


def test_what_one_listens_on_is_refused_to_the_other_by_the_check(cluster):
    path = write(cluster, "alice")
    path.write_text(path.read_text().replace("0.0.0.0:7002", "127.0.0.1:7001"))
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:7001 is listened on twice in this node: networks\.chat"):
        load(path)


def test_when_one_can_not_listen_none_does_and_the_error_names_it(cluster):
    cluster.start_file(ALICE, write(cluster, "alice"))
    path = write(cluster, "bob")
    path.write_text(path.read_text().replace("0.0.0.0:7001", "0.0.0.0:7009"))
    host = cluster.net.at(ALICE)
    node = Node(load(path), host.reactor, host)
    with pytest.raises(StartError, match=r"^news: can't listen on 0\.0\.0\.0:7002"):
        node.prepare()
    assert (ALICE, 7009) not in cluster.listening


def test_bitcoin_and_lines_run_side_by_side(cluster):
    bitcoin = """
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest}}
    transports: [{{plugin: tcp, listen: ["0.0.0.0:18444"]}}]
    discovery: {discovery}
"""
    mining = "applications: [{plugin: miner, network: bitcoin, interval: 1s, limit: 12}]"
    alice = cluster.start_file(ALICE, write(cluster, "alice", more=bitcoin.format(discovery="[]"), applications=mining))
    follow = bitcoin.format(discovery=f'[{{plugin: static, peers: ["{ALICE}:18444"]}}]')
    bob = cluster.start_file(BOB, write(cluster, "bob", ALICE, more=follow))

    def heights():
        return [
            view.status["height"] for node in (alice, bob) for view in node.view.networks() if view.name == "bitcoin"
        ]

    cluster.net.run_until(lambda: opened(bob, "chat"))
    say(cluster, bob, "chat", "how high is the chain?")
    cluster.net.run_until(lambda: heights() == [12, 12] and lines_of(alice, "chat") == ["how high is the chain?"])
    assert [view.protocol for view in bob.view.networks()] == ["lines", "lines", "bitcoin"]
    with pytest.raises(KeyError):
        bob.view.spreads("none")
    assert {spread.topic for spread in bob.view.spreads("bitcoin")} == {"block"}
    assert {spread.topic for spread in bob.view.spreads("chat")} == {"line"}
    cluster.wait(alice.control.ban(BOB, 600.0, "only here", scope="bitcoin"))
    cluster.net.run_until(lambda: not opened(alice, "bitcoin"))
    assert opened(alice, "chat")
    assert alice.builder.provide("test", IItems, "bitcoin") is not alice.builder.provide("test", IItems, "chat")
