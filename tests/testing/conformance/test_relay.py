"""The suite of relay policies: ours pass it, and each wrong one is told which rule it breaks."""

from __future__ import annotations

import pytest

from p2pframe.plugin import plugin
from p2pframe.relay.flood import FloodRelay
from p2pframe.relay.inventory import InventoryRelay
from p2pframe.testing.conformance import NonConformance, check


def test_inventory(conforms):
    conforms("relay", "inventory")


def test_flood(conforms):
    conforms("relay", "flood")


def test_lazy_flood(conforms):
    conforms("relay", "lazy-flood", hash_seeds=True)


def wrong(base=FloodRelay, **members):
    """A policy that differs from a good one in these members."""
    cls = type("Wrong", (base,), {"__doc__": "Does one thing wrong.", "__module__": __name__, **members})
    return plugin("wrong", config=base.__p2pframe_plugin__.config)(cls)


def tells_the_source(self, item, source):
    FloodRelay.accepted(self, item, source)
    if source is not None:
        source.announce([item])


def tells_twice(self, told, item):
    FloodRelay._tell(self, told, item)
    told.link.announce([item])


def forgets_one_in_twenty(self, item, source):
    if self._links and int.from_bytes(item.id, "big") % 20 != 19:
        FloodRelay.accepted(self, item, source)


def trickles_blocks(self, item, source):
    self._reactor.callLater(1.0, FloodRelay.accepted, self, item, source)


def asks_for_more(self, told, item):
    FloodRelay._tell(self, told, item)
    told.link.request([item.id])


def asks_to_be_pushed(self, told, item):
    FloodRelay._tell(self, told, item)
    told.link.graft()


def keeps_the_link(self, link):
    self.__dict__.setdefault("old", []).append(link)
    FloodRelay.link_removed(self, link)


def does_not_let_go(self, link):
    pass


def tell_each(self, links, item, source):
    told_of = self._links.get(item.topic, {})
    for link in links:
        told = told_of.get(link.id)
        if told is not None and link is not source and not told.knows(item):
            (self._tell if link.writable else self._hold)(told, item)


def tells_in_the_order_of_a_set(self, item, source):
    tell_each(self, {told.link for told in self._links.get(item.topic, {}).values()}, item, source)


def tells_every_other_link(self, item, source):
    links = [told.link for told in self._links.get(item.topic, {}).values() if told.link is not source]
    tell_each(self, [link for n, link in enumerate(links) if n % 2 or len(links) == 1], item, source)


def tells_who_went_meanwhile(self, item, source):
    for told in list(self._links.get(item.topic, {}).values()):
        if told.link is not source and not told.knows(item):
            (self._tell if told.link.writable and not told.held else self._hold)(told, item)


def tells_who_does_not_read(self, item, source):
    for told in self._links.get(item.topic, {}).values():
        if told.link is not source and not told.knows(item):
            self._tell(told, item)


def goes_on_for_ever(self, link):
    FloodRelay.link_added(self, link)
    self._reactor.callLater(1.0, self.beat)


def beat(self):
    self._reactor.callLater(1.0, self.beat)


def keeps_all_ids(self, link, ids):
    self.__dict__.setdefault("seen", set()).update(ids)
    FloodRelay.announced(self, link, ids)


def no_bound(self, told, item):
    self.__dict__.setdefault("all", []).append(item)
    FloodRelay._hold(self, told, item)


def sees_no_alias(self, item):
    return any(known is not None and item.id in known for known in (self.current, self.previous))


class NoAliases(FloodRelay):
    def link_added(self, link):
        FloodRelay.link_added(self, link)
        told = self._links[link.topic][link.id]
        told.__class__ = type("Told", (type(told),), {"__slots__": (), "knows": sees_no_alias})


WRONG = [
    (wrong(needs=()), "IRelayPolicy.needs", "Sets of verbs"),
    (wrong(needs=(frozenset({"shout"}),)), "IRelayPolicy.needs", "Sets of verbs"),
    (wrong(needs=(frozenset({"push"}),), _tell=tells_twice), "IRelayPolicy.needs", "at least one of them"),
    (wrong(_tell=asks_for_more), "ILink.request", "Only core's scheduler"),
    (wrong(_tell=asks_to_be_pushed), "IRelayPolicy.needs", "at least one of them"),
    (wrong(accepted=tells_the_source, needs=(frozenset({"announce"}),)), "IRelayPolicy.announced", "never tell it"),
    (wrong(needs=(frozenset({"announce"}),), _tell=tells_twice), "IRelayPolicy:", "Who is told of an item"),
    (wrong(accepted=forgets_one_in_twenty), "IRelayPolicy:", "Who is told of an item"),
    (wrong(accepted=lambda self, item, source: 1 / 0), "IRelayPolicy.accepted", "ZeroDivisionError"),
    (wrong(accepted=trickles_blocks), "ILink.urgent", "never trickled"),
    (wrong(announced=lambda self, link, ids: None), "IRelayPolicy.announced", "never tell it"),
    (wrong(InventoryRelay, withdrawn=lambda self, topic, ids: None), "IRelayPolicy.withdrawn", "do not tell"),
    (wrong(accepted=tells_who_does_not_read), "ILink.writable", "hold back what can wait"),
    (wrong(_hold=no_bound), "IRelayPolicy.accepted", "has a bound"),
    (wrong(link_removed=keeps_the_link), "IRelayPolicy.link_removed", "forget the link"),
    (wrong(link_removed=does_not_let_go), "IRelayPolicy.link_removed", "forget the link"),
    (wrong(link_added=goes_on_for_ever, beat=beat), "IRelayPolicy.link_removed", "delayed calls"),
    (wrong(may_serve=lambda self, link, id: False), "IRelayPolicy.may_serve", "told of"),
    (wrong(may_serve=lambda self, link, id: None), "IRelayPolicy.may_serve", "None for an item"),
    (wrong(NoAliases), "IRelayPolicy.announced", "by its alias"),
    (wrong(announced=keeps_all_ids), "IRelayPolicy.announced", "remembered within a bound"),
    (wrong(accepted=tells_in_the_order_of_a_set), "the order of what is told", "never iterate over a set"),
    (wrong(accepted=tells_every_other_link), "IRelayPolicy:", "Who is told of an item"),
    (wrong(accepted=tells_who_went_meanwhile), "IRelayPolicy.link_removed", "after link_removed"),
]


@pytest.mark.parametrize(("cls", "method", "sentence"), WRONG)
def test_a_wrong_one_is_told_which_rule_it_breaks(cls, method, sentence):
    with pytest.raises(NonConformance) as caught:
        check(cls)
    assert f"breaks {method}" in str(caught.value)
    assert sentence in str(caught.value)


def test_a_policy_that_leaves_some_to_others_says_so():
    check(wrong(accepted=tells_every_other_link), everybody=False)


def test_two_equal_worlds_that_differ_are_found():
    made = iter(range(1000))

    class Differs(FloodRelay):
        def __init__(self, config, context):
            super().__init__(config, context)
            self.backwards = next(made) % 2

        def accepted(self, item, source):
            links = [told.link for told in self._links.get(item.topic, {}).values()]
            tell_each(self, reversed(links) if self.backwards else links, item, source)

    with pytest.raises(NonConformance, match="do the same"):
        check(wrong(Differs))


@plugin("text-order", config=FloodRelay.__p2pframe_plugin__.config)
class TextOrder(FloodRelay):
    """Tells its links in the order of a set of texts, which only another PYTHONHASHSEED changes."""

    def accepted(self, item, source):
        held = self._links.get(item.topic, {})
        self._links[item.topic] = {id: held[id] for id in map(int, {str(id) for id in held})}
        super().accepted(item, source)


def test_the_order_of_a_set_of_texts_is_seen_under_two_hash_seeds():
    check(TextOrder)
    with pytest.raises(NonConformance, match="is a set iterated"):
        check(TextOrder, hash_seeds=True)
