"""The context that other tests stand on."""

import pytest
from twisted.internet.interfaces import IReactorPluggableNameResolver, IReactorTCP, IReactorTime, IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from zope.interface.verify import verifyObject

from p2pframe.errors import PluginError
from p2pframe.interfaces import IContext, INamespace, IStorage
from p2pframe.storage.memory import MemoryConfig, MemoryStorage
from p2pframe.testing.context import FakeContext, FakeReactor, result_of


def test_it_provides_all_of_the_contract() -> None:
    context = FakeContext()
    assert verifyObject(IContext, context)
    for interface in (IReactorTime, IReactorTCP, IReactorUDP, IReactorPluggableNameResolver):
        assert interface.providedBy(context.reactor)
    assert verifyObject(INamespace, context.storage)
    assert verifyObject(IStorage, MemoryStorage(MemoryConfig(), context))


def test_chance_repeats_with_the_seed() -> None:
    one, same, other = FakeContext(seed=1), FakeContext(seed=1), FakeContext(seed=2)
    assert one.rng.random() == same.rng.random() != other.rng.random()
    assert one.entropy.bytes(8) == same.entropy.bytes(8) != other.entropy.bytes(8)


def test_time_is_the_clock() -> None:
    context = FakeContext()
    before = context.unix_time()
    context.reactor.advance(5)
    assert context.unix_time() == before + 5


def test_work_is_done_at_once_and_fails_as_a_deferred() -> None:
    context = FakeContext()
    assert result_of(context.work(lambda a, b: a + b, 1, b=2)) == 3
    with pytest.raises(ZeroDivisionError):
        result_of(context.work(lambda: 1 // 0))


def test_a_service_is_what_was_provided() -> None:
    context = FakeContext()
    with pytest.raises(PluginError):
        context.service(IStorage)
    context.provide(IStorage, "x")
    assert context.sibling("relay.flood").service(IStorage) == "x"


def test_metrics_are_read_back() -> None:
    context = FakeContext()
    counter = context.metrics.counter("refused_total", "Refused.", ("why",))
    counter.add(1, "full")
    counter.add(2, "late")
    assert context.metrics.value("refused_total", "late") == 2
    assert context.metrics.value("refused_total") == 3
    with pytest.raises(ValueError):
        counter.add(1)


def test_the_folder_goes_with_the_context() -> None:
    context = FakeContext()
    folder = context.data_dir
    assert folder.is_dir()
    del context
    assert not folder.exists()


def test_udp_ports_are_noted() -> None:
    reactor = FakeReactor()
    protocol = DatagramProtocol()
    port = reactor.listenUDP(0, protocol)
    protocol.transport.write(b"x", ("127.0.0.1", 9))
    assert port.written == [(b"x", ("127.0.0.1", 9))]
