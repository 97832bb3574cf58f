"""The suite of topologies: ours pass it, and each wrong one is told which rule it breaks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pframe.model import Candidate, Drop, PeerAddress, Slot, Want
from p2pframe.plugin import plugin
from p2pframe.testing.conformance import NonConformance, check
from p2pframe.topology.random import RandomTopology


def test_random(conforms):
    conforms("topology", "random")


def test_random_with_few_slots(conforms):
    options = {"inbound": 0, "outbound": 3, "block_relay": 0, "feeler": 0, "anchors": 0}
    conforms("topology", "random", options)


def test_random_with_more_slots_than_there_is_time_to_fill(conforms):
    conforms("topology", "random", {"inbound": 2000, "outbound": 300})


def test_near(conforms):
    conforms("topology", "near", hash_seeds=True)


def wrong(**members):
    """A topology that differs from a good one in these members."""
    members = {"__doc__": "Does one thing wrong.", "__module__": __name__, **members}
    return plugin("wrong", config=RandomTopology.__p2pframe_plugin__.config)(
        type("Wrong", (RandomTopology,), members)
    )


def wants(*slots):
    return lambda self, view: [Want(slot) for slot in slots]


def wants_more_than_fits(self, view):
    return [*RandomTopology.wants(self, view), Want(Slot.OUTBOUND)]


def forgets_who_is_protected(self, view, newcomer):
    return RandomTopology.evict(
        self, replace(view, sessions=tuple(replace(one, protected=False) for one in view.sessions)), newcomer
    )


def ends_anybody(self, view, newcomer):
    return Drop(view.sessions[0].id, "evicted") if view.sessions else None


def ends_of(choose, reason="evicted"):
    def evict(self, view, newcomer):
        found = [one for one in view.sessions if not one.protected and choose(one, newcomer)]
        return Drop(found[0].id, reason) if found else None

    return evict


def fits(one, newcomer):
    return one.slot is newcomer.slot and one.state == "open" and one.id != newcomer.id


def is_the_last_useful(one):
    return one.sole_source and not one.protected and one.slot is not Slot.MANUAL


def rotates(choose):
    return lambda self, view: [Drop(one.id, "rotated") for one in view.sessions if choose(one)][:1]


def sorts_the_snapshots(self, view):
    for one in view.sessions:
        one.messages_in["seen"] = 1
    return []


def looks_it_up(self, want, one, view):
    self.context.reactor.callLater(1, lambda: None)
    return True


def builds(self, config, context):
    RandomTopology.__init__(self, config, context)
    self.context = context


def no_anchors(self, anchors):
    pass


def ends_by_the_order_of_a_set(self, view, newcomer):
    if newcomer.slot is not Slot.INBOUND:
        return None
    fit = {one.address: one for one in view.sessions if one.slot is Slot.INBOUND and one.state == "open"}
    for address in set(fit):
        if not fit[address].protected and address != newcomer.address:
            return Drop(fit[address].id, "evicted")
    return None


def nobody(self, view):
    return ()


def inbound_anchors(self, view):
    return [one.address for one in view.sessions if one.inbound][:2]


WRONG = [
    (wrong(slots=lambda self: dict.fromkeys(Slot, 1.5)), "ITopology.slots", "it answers"),
    (wrong(slots=lambda self: {"outbound": 8}), "ITopology.slots", "it answers"),
    (wrong(slots=lambda self: 8), "ITopology.slots", "it answers"),
    (wrong(wants=lambda self, view: None), "ITopology.wants", "it answers None"),
    (wrong(wants=wants(Slot.INBOUND)), "ITopology.wants", "nobody can dial inbound"),
    (wrong(wants=wants(Slot.MANUAL)), "ITopology.wants", "dials manual ones itself"),
    (wrong(wants=wants_more_than_fits), "ITopology.wants", "slots are in use"),
    (wrong(wants=wants(), anchors=nobody), "ITopology.wants", "never held more than 0 of 8 outbound"),
    (wrong(wants=lambda self, view: view.sessions[0] and []), "ITopology.wants", "IndexError"),
    (wrong(acceptable=lambda self, want, one, view: None), "ITopology.acceptable", "it answers None"),
    (wrong(acceptable=lambda self, want, one, view: False), "ITopology.wants", "never held more than 0 of"),
    (wrong(evict=forgets_who_is_protected), "ITopology.evict", "never evicted"),
    (wrong(evict=ends_anybody), "ITopology.evict", ""),
    (wrong(evict=ends_of(lambda one, new: one.id == new.id)), "ITopology.evict", "ends the newcomer"),
    (wrong(evict=ends_of(lambda one, new: one.slot is Slot.OUTBOUND is not new.slot)), "ITopology.evict", "no room"),
    (wrong(evict=ends_of(lambda one, new: one.slot is new.slot and one is not new)), "ITopology.evict", "no slot yet"),
    (wrong(evict=lambda self, view, new: Drop(-1, "evicted")), "ITopology.evict", "there is no session -1"),
    (wrong(evict=lambda self, view, new: new), "ITopology.evict", "it answers SessionSnapshot"),
    (wrong(evict=ends_of(fits, reason="")), "ITopology.evict", "reason"),
    (wrong(rotate=lambda self, view: None), "ITopology.rotate", "it answers None"),
    (wrong(rotate=rotates(lambda one: one.protected)), "ITopology.rotate", "never evicted"),
    (wrong(rotate=rotates(lambda one: one.slot is Slot.MANUAL)), "ITopology.rotate", "the operator's own"),
    (wrong(rotate=rotates(is_the_last_useful)), "ITopology.rotate", "last useful one"),
    (wrong(rotate=sorts_the_snapshots), "ITopology.rotate", "does not support item assignment"),
    (wrong(anchors=inbound_anchors), "ITopology.anchors", "none of the peers that we dialled"),
    (wrong(anchors=lambda self, view: [PeerAddress("192.0.2.1", 1)]), "ITopology.anchors", "none of the peers"),
    (wrong(restore=no_anchors), "ITopology.anchors", "are dialled first"),
    (wrong(restore=lambda self, anchors: anchors[0], anchors=nobody), "ITopology.restore", "IndexError"),
    (wrong(__init__=builds, acceptable=looks_it_up), "ITopology:", "without I/O"),
    (wrong(evict=ends_by_the_order_of_a_set), "whom it holds", "never iterate over a set"),
]


@pytest.mark.parametrize(("cls", "method", "sentence"), WRONG)
def test_a_wrong_one_is_told_which_rule_it_breaks(cls, method, sentence):
    with pytest.raises(NonConformance) as caught:
        check(cls)
    assert f"breaks {method}" in str(caught.value)
    assert sentence in str(caught.value)


def takes_one_network(self, want, one, view):
    return one.address.host.startswith("172.16.") and RandomTopology.acceptable(self, want, one, view)


def of_one_network(number):
    address = PeerAddress(f"172.16.{number // 250 % 250}.{number % 250}", 7)
    return Candidate(address, f"test:{number % 1000}", tried=False)


def test_a_topology_that_takes_few_is_given_those_or_says_that_its_slots_stay_free():
    picky = wrong(acceptable=takes_one_network)
    with pytest.raises(NonConformance, match="never held more than"):
        check(picky)
    check(picky, fills=False)
    check(picky, candidates=of_one_network)
