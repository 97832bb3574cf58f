"""A download: as long as it takes, not for ever, and not more than it may be."""

from types import SimpleNamespace

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import UNKNOWN_LENGTH

from p2pframe.cli.remote.client import PATIENCE, Client, RemoteError
from p2pframe.cli.remote.place import Place


class Response:
    """An answer of which the test gives the parts."""

    code = 200
    length = UNKNOWN_LENGTH

    def deliverBody(self, protocol):
        self.protocol = protocol
        protocol.makeConnection(SimpleNamespace(loseConnection=lambda: None, abortConnection=lambda: None))


@pytest.fixture
def world(monkeypatch):
    found = SimpleNamespace(clock=Clock(), response=Response(), got=[])
    client = Client(Place("http://127.0.0.1:1"), found.clock)

    async def answered(*_):
        return found.response

    monkeypatch.setattr(client, "_response", answered)
    found.download = lambda most=1_000: Deferred.fromCoroutine(client.download("/x", found.got.append, most))
    return found


def test_it_may_take_long_as_long_as_it_goes_on(world):
    done = world.download()
    for _ in range(5):
        world.clock.advance(PATIENCE - 1)
        world.response.protocol.dataReceived(b"more")
    world.response.protocol.connectionLost(Failure(ResponseDone()))
    assert done.result is None and world.got == [b"more"] * 5
    assert not world.clock.getDelayedCalls()


def test_one_that_stands_still_is_over(world):
    done = world.download()
    world.response.protocol.dataReceived(b"a little")
    world.clock.advance(PATIENCE)
    why = []
    done.addErrback(lambda failure: why.append(failure.value))
    assert isinstance(why[0], RemoteError) and f"sent nothing for {PATIENCE:g} s" in str(why[0])


def test_one_that_is_ended_is_no_mistake_of_the_node(world):
    done = world.download()
    done.cancel()
    why = []
    done.addErrback(lambda failure: why.append(failure.value))
    assert isinstance(why[0], CancelledError) and not world.clock.getDelayedCalls()


def test_more_than_it_may_be_is_not_taken(world):
    done = world.download(most=5)
    world.response.protocol.dataReceived(b"12345")
    world.response.protocol.dataReceived(b"6")
    world.response.protocol.connectionLost(Failure(ResponseDone()))
    why = []
    done.addErrback(lambda failure: why.append(failure.value))
    assert "more than 5 bytes" in str(why[0]) and world.got == [b"12345"]
