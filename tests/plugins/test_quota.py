"""The quota: so many items and bytes in a time, each topic its own, and never for ever."""

from __future__ import annotations

import pytest
from zope.interface.verify import verifyObject

from p2pframe.errors import PluginError
from p2pframe.interfaces import INetworkProtocol, IValidator, TopicRules
from p2pframe.model import Item, ItemId, Outcome, Topic
from p2pframe.testing.context import FakeContext


class Protocol:
    topics = {Topic("tx"): TopicRules(), Topic("block"): TopicRules()}


@pytest.fixture
def context():
    return FakeContext("validator.quota", services={INetworkProtocol: Protocol()})


def item(number, topic="tx", size=100):
    return Item(Topic(topic), ItemId(b"%d" % number), None, size)


def taken(quota, *items):
    return [quota.validate(one).outcome is Outcome.ACCEPT for one in items]


def test_so_many_items_are_taken_and_the_quota_refills_evenly(made, context):
    quota = made("validator", "quota", context, items=10, interval="10s")
    verifyObject(IValidator, quota)
    assert taken(quota, *map(item, range(12))) == [True] * 10 + [False] * 2
    context.reactor.advance(1.0)
    assert taken(quota, *map(item, range(20, 23))) == [True, False, False]
    context.reactor.advance(1000.0)
    assert taken(quota, *map(item, range(30, 42))) == [True] * 10 + [False] * 2
    assert context.metrics.value("quota_exceeded_total", "tx") == 6


def test_bytes_count_too_and_what_is_larger_than_the_quota_never_fits(made, context):
    quota = made("validator", "quota", context, size="1kB", interval="10s")
    assert taken(quota, item(1, size=600), item(2, size=600), item(3, size=400)) == [True, False, True]
    context.reactor.advance(1000.0)
    assert taken(quota, item(4, size=1001)) == [False]


def test_each_topic_has_its_own(made, context):
    quota = made("validator", "quota", context, items=1)
    assert taken(quota, item(1), item(1, "block"), item(2), item(2, "block")) == [True, True, False, False]


def test_what_is_over_is_ignored_and_not_held_against_anyone(made, context):
    quota = made("validator", "quota", context, items=1)
    quota.validate(item(1))
    answer = quota.validate(item(2))
    assert (answer.outcome, answer.fact) == (Outcome.IGNORE, None)


def test_new_amounts_hold_at_once_and_what_was_used_stays_used(made, example, context):
    quota = made("validator", "quota", context, items=5, interval="1h")
    taken(quota, *map(item, range(5)))
    quota.reconfigure(example("validator", "quota").__p2pframe_plugin__.config(items=6, interval=3600))
    assert taken(quota, item(10), item(11)) == [True, False]


def test_a_topic_that_the_protocol_has_not_got_is_an_error_that_names_those_it_has(made, context):
    assert made("validator", "quota", context, topics=["block"]).topics == ("block",)
    with pytest.raises(PluginError, match=r"no topic blok: the protocol has tx, block"):
        made("validator", "quota", context, topics=["blok", "tx"])
