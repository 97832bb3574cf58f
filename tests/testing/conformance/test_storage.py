"""Storage engines in their suite: those that there are, and wrong ones that it finds."""

from __future__ import annotations

import pytest
from twisted.internet.defer import succeed
from zope.interface import implementer

from p2pframe.interfaces import IStorage
from p2pframe.plugin import plugin
from p2pframe.storage.memory import MemoryConfig, MemoryStorage
from p2pframe.storage.sqlite import SqliteConfig, SqliteStorage
from p2pframe.testing.conformance import NonConformance, check


def test_sqlite(conforms):
    conforms("storage", "sqlite", {"free_space": 0})


def test_memory(conforms):
    conforms("storage", "memory", keeps=False)


def test_journal(conforms):
    conforms("storage", "journal")


def wrong(base, config, **methods):
    """An engine like `base`, but for some methods."""
    cls = type("Wrong", (base,), {"__doc__": "Stores things wrongly.", **methods})
    return plugin("wrong", config=config)(implementer(IStorage)(cls))


def test_one_that_forgets():
    with pytest.raises(NonConformance, match=r"IStorage\.stop: 'write everything and close'"):
        check(wrong(MemoryStorage, MemoryConfig))


def test_one_that_shares_its_namespaces():
    def namespace(self, network, owner):
        return MemoryStorage.namespace(self, network, "everybody")

    with pytest.raises(NonConformance, match="nobody else sees them"):
        check(wrong(MemoryStorage, MemoryConfig, namespace=namespace), keeps=False)


def test_one_that_calls_durable_what_is_not():
    class Behind:
        """A namespace whose durable writes are none."""

        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def write(self, puts=(), deletes=(), durable=False):
            return self.inner.write(puts, deletes)

    def namespace(self, network, owner):
        return Behind(SqliteStorage.namespace(self, network, owner))

    cls = wrong(SqliteStorage, SqliteConfig, namespace=namespace)
    with pytest.raises(NonConformance, match="With `durable` the Deferred fires once it would survive a power cut"):
        check(cls, {"free_space": 0})


def test_one_whose_stop_never_ends():
    from twisted.internet.defer import Deferred

    with pytest.raises(NonConformance, match="every Deferred fires"):
        check(wrong(MemoryStorage, MemoryConfig, stop=lambda self: Deferred()), keeps=False)


def test_one_that_keeps_open_what_it_stopped():
    with pytest.raises(NonConformance, match="a read after stop"):
        check(wrong(MemoryStorage, MemoryConfig, stop=lambda self: succeed(None)), keeps=False)
