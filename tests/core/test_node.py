"""Nodes as a whole, in memory: they find each other, spread items, refuse, explain, reconfigure and stop."""

from __future__ import annotations

import pytest
from twisted.internet.defer import succeed
from twisted.logger import Logger, formatEvent

from p2pframe.errors import PluginError, StartError
from p2pframe.model import Action, Fact, Floor, FoundAddress, PeerAddress, Slot, Verdict

ALICE, BOB, CAROL = "192.0.2.1", "198.51.100.1", "203.0.113.1"


def lines_of(node):
    return node.networks["chat"].protocol.lines()


def say(cluster, node, text):
    return cluster.wait(node.networks["chat"].protocol.say(text))


def opened(node):
    return [s for s in node.view.sessions() if s.state == "open"]


def test_a_line_reaches_every_node_through_others(cluster):
    alice = cluster.start(ALICE)
    bob = cluster.start(BOB, (ALICE,))
    carol = cluster.start(CAROL, (BOB,))
    cluster.net.run_until(lambda: len(opened(bob)) == 2)
    say(cluster, alice, "hello all")
    cluster.net.run_until(lambda: lines_of(carol) == ["hello all"])
    assert lines_of(bob) == ["hello all"]


@pytest.mark.parametrize("relay", ["flood", "inventory"])
def test_every_relay_policy_spreads_and_measures(cluster, relay):
    extra = f"    relay: {{plugin: {relay}}}"
    alice = cluster.start(ALICE, extra=extra)
    bob = cluster.start(BOB, (ALICE,), extra=extra)
    cluster.net.run_until(lambda: opened(bob) and opened(alice))
    say(cluster, alice, "a")
    cluster.net.run_until(lambda: lines_of(bob) == ["a"])
    (spread,) = alice.view.spreads("chat")
    assert (spread.topic, spread.source, spread.told) == ("line", None, 1)


def test_a_manual_peer_is_dialled_again_with_backoff_until_it_is_there(cluster):
    bob = cluster.start(BOB, (ALICE,))
    cluster.net.run(5.0)
    assert not opened(bob)
    alice = cluster.start(ALICE)
    cluster.net.run_until(lambda: opened(alice), limit=70.0)
    (session,) = bob.view.sessions()
    assert session.slot is Slot.MANUAL and session.protected


def test_each_session_of_a_network_is_told_as_it_is_when_it_is_its_turn_and_not_once_it_has_ended(cluster):
    alice = cluster.start(ALICE)
    bob = cluster.start(BOB, (ALICE,))
    carol = cluster.start(CAROL, (ALICE,))
    cluster.net.run_until(lambda: len(opened(alice)) == 2)
    sessions, before = alice.view.each_session("chat"), alice.view.sessions()
    say(cluster, carol, "hello")
    cluster.net.run_until(lambda: lines_of(bob) == ["hello"])
    first = next(sessions)
    assert first.id == before[0].id and first.bytes_out > before[0].bytes_out
    alice.control.disconnect("chat", before[1].id)
    cluster.net.run_until(lambda: len(alice.view.sessions()) == 1)
    assert list(sessions) == []
    assert list(alice.view.each_session("none")) == []
    assert alice.view.session("chat", first.id).id == first.id
    assert alice.view.session("chat", before[1].id) is alice.view.session("none", first.id) is None


def test_a_bad_item_ends_the_session_by_its_floor_and_the_event_says_why(cluster):
    alice = cluster.start(ALICE, extra="    scoring: []")
    bob = cluster.start(BOB, (ALICE,))
    cluster.net.run_until(lambda: opened(bob) and opened(alice))
    alice_session = next(iter(bob.networks["chat"].sessions.values()))
    alice_session.write(b"LINE bad\x01line\n")
    cluster.net.run_until(lambda: not alice.networks["chat"].sessions)
    judged = [e for e in alice.view.events() if e.kind == "peer.judged"]
    said = [(e.fields["rule"], e.fields["action"], e.fields["fact"]) for e in judged]
    assert said == [("floor", "disconnect", "bad-line")]
    closed = [e for e in alice.view.events() if e.kind == "session.closed"]
    assert closed[-1].fields["reason"] == "bad-line"
    assert lines_of(alice) == []


def test_a_discouraged_peer_is_remembered_in_its_network_only(cluster):
    alice = cluster.start(ALICE)
    bob = cluster.start(BOB, (ALICE,))
    cluster.net.run_until(lambda: opened(bob) and opened(alice))
    session = next(iter(alice.networks["chat"].sessions.values()))
    session.fact(Fact("misbehaved", Floor.END_AND_DISCOURAGE, "saw it", proven=True))
    (penalty,) = alice.view.penalties()
    assert (penalty.subject, penalty.scope, penalty.action) == (BOB, "chat", Action.DISCOURAGE)


def test_an_unproven_fact_never_leads_to_more_than_the_end_of_its_session(cluster):
    alice = cluster.start(ALICE)
    bob = cluster.start(BOB, (ALICE,))
    cluster.net.run_until(lambda: opened(bob) and opened(alice))
    session = next(iter(alice.networks["chat"].sessions.values()))
    for _ in range(50):
        session.fact(Fact("protocol-violation", Floor.NOTE, "forged", proven=False, weight=1000.0))
    assert alice.view.penalties() == []
    assert not session.closing


def test_a_ban_by_hand_ends_the_session_and_keeps_the_peer_out_until_lifted(cluster):
    alice = cluster.start(ALICE)
    bob = cluster.start(BOB, (ALICE,))
    cluster.net.run_until(lambda: opened(bob) and opened(alice))
    cluster.wait(alice.control.ban(BOB, 3600.0, "too loud"))
    cluster.net.run_until(lambda: not alice.networks["chat"].sessions)
    cluster.net.run(130.0)
    assert not opened(alice)
    cluster.wait(alice.control.unban(BOB))
    cluster.net.run_until(lambda: opened(alice), limit=130.0)


def test_a_connection_to_ourselves_is_found_and_ended(cluster):
    alice = cluster.start(ALICE, (ALICE,))
    cluster.net.run(3.0)
    assert not opened(alice)
    reasons = [e.fields["reason"] for e in alice.view.events() if e.kind == "session.closed"]
    assert "self-connection" in reasons


def test_a_peer_that_says_nothing_is_dropped_at_the_handshake_deadline(cluster):
    alice = cluster.start(ALICE, extra="    limits: {handshake_timeout: 10s}")
    mute = cluster.net.at(BOB)
    from twisted.internet.protocol import Factory, Protocol

    class Mute(Protocol):
        pass

    class Dial(Factory):
        protocol = Mute

        def startedConnecting(self, connector):
            pass

        def clientConnectionFailed(self, connector, reason):
            raise AssertionError(reason)

        def clientConnectionLost(self, connector, reason):
            pass

    mute.reactor.connectTCP(ALICE, 7777, Dial())
    cluster.net.run_until(lambda: alice.networks["chat"].sessions)
    cluster.net.run(13.0)
    assert not alice.networks["chat"].sessions
    closed = [e for e in alice.view.events() if e.kind == "session.closed"]
    assert closed[-1].fields["reason"] == "handshake-timeout"
    refused = [e.fields for e in alice.view.events() if e.kind == "peer.refused"]
    assert refused == [{"rule": "handshake", "reason": "handshake-timeout", "evidence": "not open after 10 s"}]


def test_a_busy_port_is_a_start_error_that_names_it_and_leaves_nothing_behind(cluster):
    cluster.start(ALICE)
    with pytest.raises(StartError, match=r"^chat: can't listen on 0\.0\.0\.0:7777: [^:]*already in use; stop"):
        cluster.start_file(ALICE, _other_data_dir(cluster))


def _other_data_dir(cluster):
    path = cluster.config(ALICE)
    text = path.read_text().replace("data-192.0.2.1", "data-other")
    other = path.with_name("other.yaml")
    other.write_text(text)
    return other


def test_a_second_node_on_the_data_directory_is_refused(cluster):
    cluster.start(ALICE)
    with pytest.raises(StartError, match="is in use by"):
        cluster.start_file(CAROL, cluster.config(ALICE))


def test_live_fields_change_in_place_and_others_restart_their_network(cluster):
    alice = cluster.start(ALICE)
    bob = cluster.start(BOB, (ALICE,))
    cluster.net.run_until(lambda: opened(bob) and opened(alice))
    path = cluster.config(ALICE)
    path.write_text(path.read_text().replace("{plugin: lines}", "{plugin: lines, kept: 5}"))
    before = alice.networks["chat"]
    done = cluster.wait(alice.control.reconfigure(path))
    assert any("kept" in text for text in done)
    assert alice.networks["chat"] is before and opened(alice)
    path.write_text(path.read_text().replace("kept: 5", 'kept: 5, first_word: "news"'))
    done = cluster.wait(alice.control.reconfigure(path))
    assert any("restarted" in text for text in done)
    assert alice.networks["chat"] is not before
    cluster.net.run_until(lambda: opened(alice), limit=130.0)


def test_new_limits_hold_for_the_sessions_that_are_there(cluster):
    alice = cluster.start(ALICE)
    bob = cluster.start(BOB, (ALICE,))
    cluster.net.run_until(lambda: opened(bob) and opened(alice))
    network = alice.networks["chat"]
    session = next(iter(network.sessions.values()))

    def told():
        return network.addresses.take(session, [FoundAddress(PeerAddress(f"203.0.113.{n}", 7777)) for n in range(1, 9)])

    assert told() == 8
    path = cluster.config(ALICE, extra="    limits: {addresses_per_second: 1, addresses_burst: 3, tick: 1s}")
    cluster.wait(alice.control.reconfigure(path))
    cluster.net.run(100.0)
    assert told() == 3
    counted = {labels[1]: n for labels, n in alice.metrics.snapshot()["p2pframe_told_addresses_total"].items()}
    # Two of one source may fall into one place of the book.
    assert counted.pop("new") + counted.pop("not-new") == 11
    assert counted == {"not-dialable": 0, "over-rate": 5}


def test_manual_connections_by_hand_say_how_they_went(cluster):
    alice = cluster.start(ALICE)
    bob = cluster.start(BOB)
    session = cluster.wait(bob.control.connect("chat", PeerAddress(ALICE, 7777)))
    assert bob.control.disconnect("chat", session)
    from p2pframe.errors import SessionClosed

    with pytest.raises(SessionClosed, match="not-reached"):
        cluster.wait(bob.control.connect("chat", PeerAddress(CAROL, 7777)))
    assert alice.view.networks()[0].protocol == "lines"


def test_plugins_that_ask_for_each_other_in_a_circle_are_an_error_that_names_them(cluster, tmp_path):
    folder = tmp_path / "circle"
    folder.mkdir(mode=0o755)
    for name, asks, gives in (("ping", "IPong", "IPing"), ("pong", "IPing", "IPong")):
        (folder / f"{name}.py").write_text(
            "from zope.interface import Interface, implementer\n"
            "from p2pframe.interfaces import IApplication\n"
            "from p2pframe.plugin import plugin\n"
            "import sys, types\n"
            "shared = sys.modules.setdefault('circle_shared', types.ModuleType('circle_shared'))\n"
            "for i in ('IPing', 'IPong'):\n"
            "    if not hasattr(shared, i):\n"
            "        setattr(shared, i, type(Interface)(i, (Interface,)))\n"
            f"@plugin('{name}')\n"
            f"@implementer(IApplication, shared.{gives})\n"
            "class App:\n"
            '    """Asks for the other one."""\n'
            f"    name = '{name}'\n"
            "    def __init__(self, config, context):\n"
            f"        context.service(shared.{asks})\n"
            "    def start(self): return None\n"
            "    def stop(self): return None\n"
        )
        (folder / f"{name}.py").chmod(0o644)
    path = cluster.config(ALICE)
    path.write_text(
        path.read_text().replace("plugin_path: [", f"plugin_path: [{folder}, ")
        + "\napplications: [{plugin: ping}, {plugin: pong}]\n"
    )
    with pytest.raises(PluginError, match=r"circle: application\.ping -> application\.pong|application\.ping.*circle"):
        cluster.start_file(ALICE, path)


def test_a_named_peer_that_is_not_reached_is_told_of_once_for_each_reason(cluster):
    bob = cluster.start(BOB, (ALICE,))
    network = bob.networks["chat"]
    said = []
    network.log = Logger(observer=lambda event: event["log_level"].name == "warn" and said.append(formatEvent(event)))
    cluster.net.run(30.0)
    assert len(said) == 1
    assert said[0].startswith(f"could not reach {ALICE}:7777: not-reached: ")
    cluster.start(ALICE)
    cluster.net.run_until(lambda: opened(bob), limit=130.0)
    assert network.dialer.manual[PeerAddress(ALICE, 7777)].trouble == ""
    assert len(said) == 1


def test_a_named_peer_that_is_named_no_more_is_not_dialled_again(cluster):
    bob = cluster.start(BOB, (ALICE, CAROL))
    cluster.net.run(10.0)
    assert len(bob.networks["chat"].dialer.manual) == 2
    cluster.wait(bob.control.reconfigure(cluster.config(BOB, (CAROL,))))
    cluster.net.run(130.0)
    assert [peer.address.host for peer in bob.networks["chat"].dialer.manual.values()] == [CAROL]


def test_more_addresses_than_one_look_may_bring_are_counted(cluster):
    bob = cluster.start(BOB, (ALICE,), extra="    limits: {discovery_addresses: 1}")
    source = bob.networks["chat"].finder._sources[0].plugin
    source.find = lambda limit: succeed([FoundAddress(PeerAddress(f"203.0.113.{n}", 7777)) for n in range(1, 6)])
    bob.networks["chat"].finder._ask(bob.networks["chat"].finder._sources[0], 0.0)
    assert bob.metrics.snapshot()["p2pframe_discovery_left_out_total"]["chat", "static"] == 4


def test_no_more_named_peers_are_held_than_the_topology_has_slots_for(cluster):
    alice, carol = cluster.start(ALICE), cluster.start(CAROL)
    bob = cluster.start(BOB, (ALICE, CAROL), extra="    topology: {plugin: random, manual: 1}")
    said = []
    bob.networks["chat"].log = Logger(observer=lambda event: said.append(formatEvent(event)))
    cluster.net.run(10.0)
    assert len(opened(bob)) == 1
    assert [line for line in said if "named" in line] == [
        "2 peers are named, and 1 manual slots are there: the rest are spare"
    ]
    # The one that is held goes away: the spare one takes its place.
    held = opened(bob)[0].address.host
    cluster.wait((alice if held == ALICE else carol).stop())
    spare = CAROL if held == ALICE else ALICE
    cluster.net.run_until(lambda: [s.address.host for s in opened(bob)] == [spare], limit=20.0)


@pytest.mark.parametrize(("address", "bans"), [(BOB, 1), ("127.0.0.9", 0)])
def test_an_automatic_ban_has_its_event_where_it_was_made(cluster, address, bans):
    path = cluster.config(ALICE)
    path.write_text(path.read_text().replace("discourage_loopback: true", "discourage_loopback: false"))
    alice = cluster.start_file(ALICE, path)
    bob = cluster.start(BOB, (ALICE,))
    cluster.net.run_until(lambda: opened(bob) and opened(alice))
    network = alice.networks["chat"]
    session = next(iter(network.sessions.values()))
    # The book of those connected to goes by the address that came in.
    came_in, session.address = session.address, PeerAddress(address, session.address.port)
    network.admission.act(session, Verdict(Action.BAN, "scoring.x", "too-bad", "seen", 60.0))
    session.address = came_in
    cluster.net.run(1.0)
    events = [e.fields for e in alice.view.events() if e.kind == "peer.banned"]
    assert len(events) == len(alice.view.penalties()) == bans
    if bans:
        (penalty,) = alice.view.penalties()
        said = {"rule": "scoring.x", "reason": "too-bad", "evidence": "seen", "subject": BOB, "until": penalty.until}
        assert events == [said]
