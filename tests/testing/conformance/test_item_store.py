"""Item stores in their suite: the one that there is, and wrong ones that it finds."""

from __future__ import annotations

import pytest
from twisted.internet.defer import succeed
from zope.interface import implementer

from p2pframe.interfaces import IItemStore
from p2pframe.plugin import Field, PluginConfig, plugin
from p2pframe.testing.conformance import NonConformance, check


def test_recent(conforms):
    conforms("item-store", "recent", {"age": "5min"}, tight={"items": 5}, most=5, hash_seeds=True)
    conforms("item-store", "recent", tight={"size": 250}, most=2)


class MadeConfig(PluginConfig):
    """Options of the stores made here."""

    items: int = Field(1000, ge=1, description="How many items are kept.")


def made(**methods):
    """A small store, but for some methods."""

    class Made:
        """Keeps items in a dict."""

        def __init__(self, config, context):
            self.config = config
            self.held = {}
            self.refused = context.metrics.counter("refused_total", "Items turned away.")

        def have(self, id):
            return id in self.held

        def get(self, id):
            return succeed(self.held.get(id))

        def put(self, item):
            if item.id not in self.held and len(self.held) >= self.config.items:
                self.refused.add()
                return succeed(False)
            self.held[item.id] = item
            return succeed(True)

    cls = type("Made", (Made,), {"__doc__": "Keeps items in a dict.", **methods})
    return plugin("made", config=MadeConfig)(implementer(IItemStore)(cls))


TIGHT = {"tight": {"items": 4}, "most": 4}


def test_a_good_one_passes():
    check(made(), **TIGHT)


def unbounded(self, item):
    self.held[item.id] = item
    return succeed(True)


def silent(self, item):
    if len(self.held) >= self.config.items:
        return succeed(False)
    return unbounded(self, item)


def refuses_what_it_has(self, item):
    if item.id in self.held:
        self.refused.add()
        return succeed(False)
    return unbounded(self, item)


@pytest.mark.parametrize(("methods", "sentence"), [
    ({"have": lambda self, id: succeed(id in self.held)}, "answers from memory, at once"),
    ({"have": lambda self, id: True}, "answers from memory, at once"),
    ({"get": lambda self, id: self.held[id]}, "None where it is not held"),
    ({"get": lambda self, id: succeed(next(iter(self.held.values()), None))}, "None where it is not held"),
    ({"put": lambda self, item: succeed(None)}, "True: held now; False: turned away by a bound"),
    ({"put": lambda self, item: succeed(True)}, "True: held now; False: turned away by a bound"),
    ({"put": lambda self, item: self.refused.add() or succeed(False)}, "True: held now"),
    ({"put": unbounded}, "within its configured bounds"),
    ({"put": silent}, r"counted by the store"),
    ({"put": refuses_what_it_has}, "the same item put again"),
], ids=range(10))
def test_wrong_ones_are_found(methods, sentence):
    with pytest.raises(NonConformance, match=sentence):
        check(made(**methods), **TIGHT)
