"""Validators in their suite: the one that there is, and wrong ones that it finds."""

from __future__ import annotations

import random

import pytest
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from p2pframe.interfaces import IValidator
from p2pframe.model import ACCEPTED, Outcome, Validation
from p2pframe.plugin import PluginConfig, plugin
from p2pframe.testing.conformance import NonConformance, check


def test_quota(conforms):
    conforms("validator", "quota", hash_seeds=True)


def test_quota_of_one_topic(conforms):
    conforms("validator", "quota", {"topics": ["block"], "items": 3, "interval": "10s"})


def made(answer, topics=()):
    """A validator that answers what a function of the item and the context says."""

    @plugin("made")
    @implementer(IValidator)
    class Made:
        """Judges as the test says."""

        def __init__(self, config: PluginConfig, context) -> None:
            self.context = context
            self.topics = topics

        def validate(self, item):
            return answer(item, self.context)

    return Made


def later(item, context):
    done = Deferred()
    context.reactor.callLater(3.0, done.callback, ACCEPTED)
    return done


def given_up(item, context):
    done = Deferred(canceller=lambda deferred: deferred.callback(True))
    context.reactor.callLater(3.0, lambda: done.called or done.callback(ACCEPTED))
    return done


@pytest.mark.parametrize("answer", [
    lambda item, context: ACCEPTED,
    lambda item, context: succeed(Validation(Outcome.IGNORE)),
    lambda item, context: Validation(Outcome.REJECT, "odd") if item.size % 2 else ACCEPTED,
    lambda item, context: context.work(lambda: ACCEPTED),
    lambda item, context: Validation(Outcome.IGNORE) if context.rng.random() < 0.5 else ACCEPTED,
])
def test_good_ones_pass(answer):
    check(made(answer))


@pytest.mark.parametrize(("answer", "sentence"), [
    (lambda item, context: True, "Called once for each item that was not known"),
    (lambda item, context: None, "Called once for each item that was not known"),
    (lambda item, context: 1 // 0, "An exception counts as IGNORE"),
    (lambda item, context: item.body["key"], "An exception counts as IGNORE"),
    (lambda item, context: Validation(Outcome.REJECT), "REJECT carries a reason"),
    (lambda item, context: Validation(Outcome.WAIT), "WAIT has the missing ones fetched"),
    (lambda item, context: Validation(Outcome.WAIT, missing=(item.id,)), "WAIT has the missing ones fetched"),
    (lambda item, context: Deferred(), "An exception counts as IGNORE"),
    (given_up, "May take its time with a Deferred"),
    (lambda item, context: Validation(Outcome.IGNORE) if random.random() < 0.5 else ACCEPTED, "in equal worlds"),
    (lambda item, context: random.random() and ACCEPTED, "Order and jitter"),
])
def test_wrong_ones_are_found(answer, sentence):
    with pytest.raises(NonConformance, match=sentence):
        check(made(answer))


def test_topics_are_words():
    with pytest.raises(NonConformance, match="Which topics it judges"):
        check(made(lambda item, context: ACCEPTED, topics="block"))


def test_one_that_takes_its_time_may():
    check(made(later))
