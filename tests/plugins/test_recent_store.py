"""The recent store: the latest items within bytes, number and age; what goes is withdrawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from p2pframe.interfaces import IItems, IItemStore
from p2pframe.model import Item, ItemId, Topic
from p2pframe.testing.context import FakeContext, result_of
from tests.plugins.conftest import ROOT


class Items:
    def __init__(self):
        self.withdrawn = []

    def withdraw(self, topic, ids):
        self.withdrawn += [(topic, id) for id in ids]


@pytest.fixture
def context():
    return FakeContext("item-store.recent", services={IItems: Items()})


def item(number, size=10, aliases=()):
    return Item(Topic("line"), ItemId(b"%d" % number), number, size, aliases=aliases)


def test_it_gives_what_was_put_by_id_and_by_alias(made, context):
    store = made("item-store", "recent", context)
    verifyObject(IItemStore, store)
    one = item(1, aliases=(ItemId(b"alias"),))
    assert result_of(store.put(one))
    assert store.have(one.id) and store.have(ItemId(b"alias")) and not store.have(ItemId(b"2"))
    assert result_of(store.get(ItemId(b"alias"))) is one
    assert result_of(store.get(ItemId(b"2"))) is None


def test_the_oldest_make_room_and_nobody_is_told_of_them_any_more(made, context):
    store = made("item-store", "recent", context, size=35)
    for number in range(5):
        assert result_of(store.put(item(number)))
    assert [store.have(ItemId(b"%d" % n)) for n in range(5)] == [False, False, True, True, True]
    assert context.services[IItems].withdrawn == [("line", b"0"), ("line", b"1")]
    assert context.metrics.value("recent_gone_total", "no room") == 2


def test_what_is_too_old_is_not_there_even_before_it_is_thrown_out(made, context):
    store = made("item-store", "recent", context, age="10s")
    result_of(store.put(item(1)))
    context.reactor.advance(10.1)
    assert not store.have(item(1).id) and result_of(store.get(item(1).id)) is None
    result_of(store.put(item(2)))
    assert context.services[IItems].withdrawn == [("line", b"1")]
    assert context.metrics.value("recent_gone_total", "too old") == 1


def test_an_item_larger_than_the_store_is_turned_away_and_throws_nothing_out(made, context):
    store = made("item-store", "recent", context, size=20)
    result_of(store.put(item(1)))
    assert result_of(store.put(item(2, size=21))) is False
    assert store.have(item(1).id)


def test_tighter_bounds_hold_at_once(made, example, context):
    store = made("item-store", "recent", context)
    for number in range(10):
        result_of(store.put(item(number)))
    store.reconfigure(example("item-store", "recent").__p2pframe_plugin__.config(items=3))
    assert [n for n in range(10) if store.have(ItemId(b"%d" % n))] == [7, 8, 9]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 60), st.booleans()), max_size=60))
def test_its_bounds_and_its_sums_hold_whatever_is_put(puts):
    from p2pframe.registry import Registry

    found = Registry([ROOT / "plugins"], installed=[]).find("item-store", "recent")
    context = FakeContext(services={IItems: Items()})
    store = found(found.__p2pframe_plugin__.config(size=100, items=5, age=10), context)
    for number, size, wait in puts:
        result_of(store.put(item(number, size, aliases=(ItemId(b"a%d" % number),))))
        if wait:
            context.reactor.advance(4.0)
        held = [one for _, one in store._held.values()]
        assert store.size == sum(one.size for one in held) <= 100
        assert len(held) <= 5 and len(store._aliases) == len(held)
