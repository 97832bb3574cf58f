"""The near topology, loaded as its users load it: from a file."""

import importlib.util
import sys
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from p2pframe.interfaces import ITopology
from p2pframe.model import Candidate, PeerAddress, SessionId, SessionSnapshot, Slot, TopologyView, netgroup
from p2pframe.testing.context import FakeContext

SOURCE = Path(__file__).parents[2] / "plugins" / "near_topology.py"


@pytest.fixture(scope="module")
def near():
    spec = importlib.util.spec_from_file_location("near_topology", SOURCE)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)  # where pydantic looks names up
        spec.loader.exec_module(module)
        yield module


def make(near, **config):
    return near.NearTopology(near.NearConfig(**config), FakeContext("topology.near"))


def snapshot(id, ping, slot=Slot.OUTBOUND, **fields):
    address = PeerAddress.of(f"10.{id}.0.1", 1)
    return SessionSnapshot(
        id=SessionId(id), network="net", address=address, netgroup=netgroup(address), slot=slot, state="open",
        transport="tcp", started=0.0, opened=0.0, inbound=slot is Slot.INBOUND, best_ping=ping, **fields,
    )  # fmt: skip


def view(now, sessions=(), dialling=()):
    return TopologyView(now, tuple(sessions), tuple(dialling))


def test_it_is_a_topology_that_names_itself(near):
    assert verifyObject(ITopology, make(near))
    assert near.NearTopology.__p2pframe_plugin__.name == "near"


def test_the_slowest_is_replaced_once_in_a_while(near):
    topology = make(near, outbound=3)
    sessions = [snapshot(1, 0.2), snapshot(2, 0.02), snapshot(3, 0.9)]
    [drop] = topology.rotate(view(1000.0, sessions))
    assert (drop.session, drop.reason) == (3, "slow")
    assert "900 ms" in drop.evidence
    assert topology.rotate(view(1100.0, sessions)) == []
    assert topology.rotate(view(1400.0, sessions)) != []


def test_near_protected_and_last_useful_peers_stay(near):
    topology = make(near, outbound=3)
    sessions = [snapshot(1, 0.04), snapshot(2, 9.0, protected=True), snapshot(3, 9.0, sole_source=True)]
    assert topology.rotate(view(1000.0, sessions)) == []
    assert topology.rotate(view(1000.0, [snapshot(1, 9.0)])) == []  # a slot is free


def test_a_peer_that_never_answered_is_the_slowest(near):
    topology = make(near, outbound=2)
    sessions = [snapshot(1, 5.0), snapshot(2, None)]
    assert [drop.session for drop in topology.rotate(view(1000.0, sessions))] == [2]
    assert [drop.session for drop in make(near, outbound=2).rotate(view(30.0 + 300, sessions))] == [2]


def test_free_slots_are_wanted_and_no_netgroup_is_overused(near):
    topology = make(near, outbound=3, per_netgroup=1)
    held = [snapshot(1, 0.1)]
    [want] = topology.wants(view(0.0, held))
    assert want.exclude_netgroups == {"v4:10.1"}

    def accepts(host):
        address = PeerAddress.of(host, 1)
        return topology.acceptable(want, Candidate(address, netgroup(address), True), view(0.0, held))

    assert accepts("10.2.0.1")
    assert not accepts("10.1.0.2")
    dialling = [(PeerAddress.of("10.5.0.1", 1), Slot.OUTBOUND), (PeerAddress.of("10.6.0.1", 1), Slot.OUTBOUND)]
    assert topology.wants(view(0.0, held, dialling)) == []


def test_the_slowest_inbound_peer_makes_room(near):
    topology = make(near)
    newcomer = snapshot(9, None, Slot.INBOUND)
    sessions = [snapshot(1, 0.3, Slot.INBOUND), snapshot(2, 0.1, Slot.INBOUND), snapshot(3, 4.0), newcomer]
    assert topology.evict(view(1000.0, sessions), newcomer).session == 1
    assert topology.evict(view(1000.0, [snapshot(1, 0.01, Slot.INBOUND)]), newcomer) is None
    assert topology.evict(view(1000.0, sessions), snapshot(8, None)) is None
