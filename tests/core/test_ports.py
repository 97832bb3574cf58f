"""The listening ports of a network: bound at once or later, given up in time, named when they are busy."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError

from p2pframe.core.ports import Ports
from p2pframe.errors import StartError
from p2pframe.interfaces import Listener


class SlowEndpoint:
    """Binds when the test says so."""

    def __init__(self):
        self.binding = Deferred()

    def listen(self, factory):
        return self.binding


class DeafEndpoint(SlowEndpoint):
    """One whose binding can't be cancelled: it comes about all the same."""

    def __init__(self):
        self.binding = Deferred(lambda _: self.binding.callback(port))
        self.port = port = Port()


class Port:
    def __init__(self):
        self.stopped = False

    def stopListening(self):
        self.stopped = True


def of(*endpoints):
    via = SimpleNamespace(listeners=lambda: [Listener(one, f"place {n}") for n, one in enumerate(endpoints)])
    log = SimpleNamespace(error=lambda text, **fields: errors.append(text.format(**fields)))
    errors = []
    ports = Ports(SimpleNamespace(name="one", parts=SimpleNamespace(transports=[via]), log=log))
    ports.errors = errors
    return ports


def close(ports):
    done = []
    Deferred.fromCoroutine(ports.close()).addBoth(done.append)
    assert done == [None]


def test_a_port_that_binds_later_is_listed_from_then_on():
    endpoint, port = SlowEndpoint(), Port()
    ports = of(endpoint)
    (waiting,) = ports.open()
    assert ports.places == [] and not waiting.called
    endpoint.binding.callback(port)
    assert ports.places == ["place 0"] and waiting.called
    close(ports)
    assert port.stopped and ports.places == []


def test_a_port_that_binds_after_the_end_is_closed_at_once():
    endpoint = DeafEndpoint()
    ports = of(endpoint)
    ports.open()
    close(ports)
    assert endpoint.port.stopped and ports.places == [] and ports.bound == []


def test_what_has_not_bound_yet_is_given_up_at_the_end():
    first, second = SlowEndpoint(), SlowEndpoint()
    ports = of(first, second)
    ports.open()
    close(ports)
    assert first.binding.called and second.binding.called


def test_a_port_that_can_not_be_closed_is_told_of_and_the_others_are_closed():
    first, second = SlowEndpoint(), SlowEndpoint()
    stubborn, port = Port(), Port()
    stubborn.stopListening = lambda: fail(OSError("held by the system"))
    first.binding.callback(stubborn)
    second.binding.callback(port)
    ports = of(first, second)
    assert ports.open() == []
    close(ports)
    assert port.stopped and ports.errors == ["a port could not be closed: held by the system"]


def test_one_that_turns_out_busy_later_is_named():
    endpoint = SlowEndpoint()
    (waiting,) = of(endpoint).open()
    failures = []
    waiting.addErrback(failures.append)
    endpoint.binding.errback(CannotListenError("127.0.0.1", 1, OSError("in use")))
    assert failures[0].check(StartError) and "one: can't listen on place 0: in use" in failures[0].getErrorMessage()


def test_one_that_is_busy_at_once_raises():
    endpoint = SlowEndpoint()
    endpoint.binding.errback(CannotListenError("127.0.0.1", 1, OSError("in use")))
    with pytest.raises(StartError, match="place 0"):
        of(endpoint).open()
