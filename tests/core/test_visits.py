"""Calls on peers: who is it, whom does it know; without a slot, a trace in the book, or a way to be held up."""

import pytest
from twisted.internet.protocol import Factory, Protocol

from p2pframe.errors import P2PFrameError
from p2pframe.model import FoundAddress, PeerAddress, Slot

NODE = """
version: 1
node: {{data_dir: ./data-{at}}}
storage: {{plugin: memory}}
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest}}
    transports: [{{plugin: tcp, listen: ["{at}:18444"]}}]
    topology: {{plugin: random, outbound: 1, feelers: 0}}
    limits: {{visits: 3}}
"""
US, THEM = "203.0.113.1", "203.0.113.2"


@pytest.fixture
def two(simulation):
    hosts = [simulation.start(NODE.format(at=at).replace(", feelers: 0", ""), at) for at in (US, THEM)]
    theirs = hosts[1].node.networks["bitcoin"]
    theirs.book.add([FoundAddress(PeerAddress(f"192.0.2.{n}", 18444), 9) for n in range(1, 200)], "test")
    return hosts


def visit(simulation, host, address=None, peers=0, wait=30.0, limit=60):
    address = address or PeerAddress(THEM, 18444)
    return simulation.wait(host.node.control.visit("bitcoin", address, peers, wait), limit)


def test_a_visit_says_who_it_is_and_ends(simulation, two):
    found = visit(simulation, two[0])
    assert found.agent.startswith("/p2pframe")
    assert found.version == 70016
    assert found.round_trip > 0
    assert found.peers == ()
    simulation.run(5)
    assert not two[0].node.networks["bitcoin"].sessions
    assert not two[1].node.networks["bitcoin"].sessions


def test_a_visit_asks_whom_it_knows_and_nothing_of_it_enters_the_book(simulation, two):
    found = visit(simulation, two[0], peers=1000)
    assert 5 <= len(found.peers) <= 60, "a fifth of those it holds, as Bitcoin tells"
    assert all(one.address.host.startswith("192.0.2.") for one in found.peers)
    assert two[0].node.networks["bitcoin"].book.size == 0
    simulation.run(20)
    assert len(visit(simulation, two[0], peers=5).peers) <= 5


def test_a_visit_takes_no_slot_and_the_topology_does_not_see_it(simulation, two):
    network = two[0].node.networks["bitcoin"]
    pending = two[0].node.control.visit("bitcoin", PeerAddress(THEM, 18444), 1000)
    simulation.run(1.0)
    (session,) = network.sessions.values()
    assert session.slot is Slot.FEELER
    assert network.view().sessions == ()
    assert network.view().dialling == ()
    simulation.wait(pending)


def test_nobody_there_is_told(simulation, two):
    with pytest.raises(P2PFrameError, match=r"192\.0\.2\.9:18444"):
        visit(simulation, two[0], PeerAddress("192.0.2.9", 18444))


def test_who_takes_the_connection_and_says_nothing_holds_nobody_up(simulation, two):
    silent = simulation.at("203.0.113.7")
    silent.reactor.listenTCP(18444, Factory.forProtocol(Protocol))
    with pytest.raises(P2PFrameError, match="no answer within 10 s"):
        visit(simulation, two[0], PeerAddress("203.0.113.7", 18444), wait=10.0)
    simulation.run(10)
    assert not two[0].node.networks["bitcoin"].sessions


def test_visits_are_bounded_and_the_refused_are_counted(simulation, two):
    control = two[0].node.control
    pending = [control.visit("bitcoin", PeerAddress(f"192.0.2.{n}", 18444)) for n in range(1, 4)]
    with pytest.raises(P2PFrameError, match=r"3 visits are under way already \(limits.visits\)"):
        visit(simulation, two[0])
    counted = two[0].node.metrics.snapshot()["p2pframe_visits_total"]
    assert counted[("bitcoin", "refused")] == 1
    for one in pending:
        with pytest.raises(P2PFrameError):
            simulation.wait(one)
    assert visit(simulation, two[0]).agent


def test_one_that_we_hold_is_told_of_without_a_call(simulation, two):
    network = two[0].node.networks["bitcoin"]
    simulation.wait(two[0].node.control.connect("bitcoin", PeerAddress(THEM, 18444)))
    found = visit(simulation, two[0], peers=100)
    assert found.agent.startswith("/p2pframe")
    assert found.peers == ()
    assert len(network.sessions) == 1


def test_one_that_is_being_visited_is_not_visited(simulation, two):
    control = two[0].node.control
    pending = control.visit("bitcoin", PeerAddress(THEM, 18444), 10)
    with pytest.raises(P2PFrameError, match="there is a session or a visit already"):
        visit(simulation, two[0])
    simulation.wait(pending)
    with pytest.raises(P2PFrameError, match="no network 'other'"):
        simulation.wait(control.visit("other", PeerAddress(THEM, 18444)))


def test_a_stop_ends_a_visit(simulation, two):
    pending = two[0].node.control.visit("bitcoin", PeerAddress("192.0.2.9", 18444))
    two[0].stop()
    with pytest.raises(P2PFrameError):
        simulation.wait(pending)
