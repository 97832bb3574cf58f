"""The rules of every plugin, what a suite may quote, and what is said of a plugin that breaks something."""

from __future__ import annotations

import random

import pytest
from pydantic import ConfigDict
from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from p2pframe.interfaces import IItemStore, IReconfigurable, IValidator
from p2pframe.model import ACCEPTED, Outcome, Validation
from p2pframe.plugin import Field, PluginConfig, live, plugin
from p2pframe.testing.conformance import Bench, NonConformance, check, interfaces_of


class MadeConfig(PluginConfig):
    """Options of the validators made here."""

    most: int = live(10, ge=1, description="How many are taken.")
    words: tuple[str, ...] = Field((), description="Words that are taken.")


class Base(Service):
    """Takes everything."""

    topics = ()

    def __init__(self, config, context):
        self.config = config
        self.context = context

    def validate(self, item):
        return ACCEPTED

    def reconfigure(self, config):
        self.config = config


def made(config=MadeConfig, interfaces=(IValidator, IReconfigurable), **methods):
    """A validator that is fine, but for some methods."""
    cls = type("Made", (Base,), {"__doc__": "Takes everything there is.", **methods})
    return plugin("made", config=config)(implementer(*interfaces)(cls))


def test_a_good_one_passes():
    check(made())
    check(made(), {"most": 3})
    check(made(), MadeConfig(most=3))


class Loose(PluginConfig):
    """Takes any option."""

    model_config = ConfigDict(extra="allow")


class Thawed(PluginConfig):
    """Can be changed."""

    model_config = ConfigDict(frozen=False)


class Unexplained(PluginConfig):
    """Has an option that says nothing."""

    most: int = 3


def timed(self, config, context):
    Base.__init__(self, config, context)
    context.reactor.callLater(1, lambda: None)


def listens(self, config, context):
    Base.__init__(self, config, context)
    context.reactor.listenUDP(1, DatagramProtocol())


def works(self, config, context):
    Base.__init__(self, config, context)
    context.work(lambda: None)


def stores(self, config, context):
    Base.__init__(self, config, context)
    self.storage = context.storage


def needs_it_all(self, config, context):
    Base.__init__(self, config, context)
    context.service(Service)


def left_running(self):
    Service.startService(self)
    self.context.reactor.callLater(1000, lambda: None)


def draws(self, item):
    random.shuffle([1, 2, 3])
    return ACCEPTED


def globally_timed(self, item):
    self.call = reactor.callLater(1000, lambda: None)
    CALLS.append(self.call)
    return ACCEPTED


CALLS: list = []


@pytest.fixture(autouse=True)
def _no_calls_left():
    yield
    while CALLS:
        CALLS.pop().cancel()


def keeps_a_copy(self, config, context):
    Base.__init__(self, config, context)
    self.options = config


@pytest.mark.parametrize(("methods", "sentence"), [
    ({"config": Loose}, "a config refuses what it does not know"),
    ({"config": Thawed}, "a config is frozen"),
    ({"config": Unexplained}, "every option has a description"),
    ({"interfaces": (IValidator,)}, "A plugin with live config fields also provides this"),
    ({"__doc__": "Short."}, "the docstring's first line is the summary"),
    ({"__init__": timed}, "nothing is timed before start"),
    ({"__init__": listens}, "a constructor opens nothing"),
    ({"__init__": works}, "a constructor opens nothing"),
    ({"__init__": stores}, "to be used from start on"),
    ({"__init__": needs_it_all}, "raises nothing that its interface does not name"),
    ({"startService": left_running}, "nothing after stop"),
    ({"startService": lambda self: 1 // 0}, "raises nothing that its interface does not name"),
    ({"validate": draws}, "Order and jitter; repeatable in the simulator"),
    ({"validate": globally_timed}, "Time and sockets"),
    ({"validate": lambda self: ACCEPTED}, "a plugin has every name of its interface"),
    ({"reconfigure": lambda self, config: 1 // 0}, "Must not raise"),
    ({"reconfigure": lambda self, config: None}, "Usually `self.config = config`"),
    ({"__init__": keeps_a_copy}, "Usually `self.config = config`"),
], ids=range(18))
def test_wrong_ones_are_found(methods, sentence):
    with pytest.raises(NonConformance, match=sentence):
        check(made(**methods))


def test_it_says_who_and_what_and_why():
    with pytest.raises(NonConformance) as found:
        check(made(validate=lambda self, item: 3))
    text = str(found.value)
    assert text.startswith("validator made (")
    assert "Made) breaks IValidator.validate: 'Called once for each item" in text
    assert "seen: for an item of " in text
    assert "it answered 3" in text
    assert isinstance(found.value, AssertionError)


def test_a_class_without_the_decorator_is_no_plugin():
    with pytest.raises(NonConformance, match=r"the class has no @plugin of its own"):
        check(type("Heir", (made(),), {}))


def test_a_class_of_two_kinds_goes_through_both():
    both = plugin("both", config=MadeConfig, kind="validator")(
        implementer(IValidator, IItemStore, IReconfigurable)(type("Both", (Base,), {"__doc__": "Does two things."}))
    )
    assert [kind for kind, _ in interfaces_of(both)] == ["validator", "item-store"]
    with pytest.raises(NonConformance, match="IItemStore"):
        check(both)


def test_an_option_that_nobody_takes_is_a_mistake():
    with pytest.raises(TypeError, match="no suite of validator takes tihgt"):
        check(made(), tihgt=3)


def test_a_suite_may_only_quote_what_is_there():
    bench = Bench(made(), IValidator, "validator")
    bench.require(True, "validate", "Called once for each item that was not known, before it is stored or spread.")
    with pytest.raises(ValueError, match=r"quotes what IValidator\.validate does not say"):
        bench.require(True, "validate", "Called whenever one likes.")


def by_the_order_of_a_set(self, item):
    first = next(iter({f"{n}" for n in range(50)}))
    return Validation(Outcome.IGNORE, first)


SetOrder = made(validate=by_the_order_of_a_set)
SetOrder.__qualname__ = "SetOrder"
SetOrder.__module__ = __name__


def test_the_order_of_a_set_shows_under_two_hash_seeds():
    check(SetOrder)
    with pytest.raises(NonConformance, match="under any PYTHONHASHSEED"):
        check(SetOrder, hash_seeds=True)


def test_a_class_within_a_function_can_not_travel():
    with pytest.raises(ValueError, match="defined inside a function"):
        cls = made()
        cls.__qualname__ = "made.<locals>.Made"
        check(cls, hash_seeds=True)


def test_services_of_the_tests_own_are_given():
    class Service_:
        """Something."""

    asked = []

    def init(self, config, context):
        Base.__init__(self, config, context)
        asked.append(context.service(Service_))

    mine = Service_()
    check(made(__init__=init), services={Service_: mine})
    assert set(asked) == {mine}
    check(made(__init__=init), services=lambda context: {Service_: Service_()})
    assert len(set(asked)) > 3
