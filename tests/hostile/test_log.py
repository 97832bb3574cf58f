"""A million hostile connects are a few megabytes of log, which says how many lines it left out."""

from __future__ import annotations

import re

import pytest
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher

from p2pframe.logs import NodeLog, Output
from p2pframe.model import PeerAddress

NODE = "192.0.2.1"


class Wire(StringTransport):
    def abortConnection(self):
        pass

    def setTcpNoDelay(self, enabled):
        pass

    setTcpKeepAlive = setTcpNoDelay


@pytest.fixture
def log(tmp_path):
    """The log of the node to a file, with its own rate limit switched off: what is held back, core holds back."""
    path = tmp_path / "node.log"
    output = Output()
    output.open(path, 1 << 30, 1)
    observer = NodeLog(output, rate=1 << 60)
    globalLogPublisher.addObserver(observer)
    yield path
    globalLogPublisher.removeObserver(observer)
    output._file.close()


def storm(cluster, connects: int, per_second: float, groups: int, hello: bool):
    """Connections from many netgroups, of whom all that get in shake hands, if they are to, and leave."""
    network = cluster.start(NODE).networks["chat"]
    via = network.parts.transports[0]
    addresses = [PeerAddress(f"{11 + n // 200}.{n % 200}.1.1", 4000) for n in range(groups)]
    taken = 0
    step = round(max(1.0, per_second))
    for number in range(connects):
        session = network.accept(addresses[number % groups], via)
        if session is not None:
            taken += 1
            session.makeConnection(Wire())
            if hello:
                session.dataReceived(b"HELLO p2pframe-lines/1 %d\n" % number)
            session.connectionLost()
        if number % step == step - 1:
            cluster.net.run(step / per_second)
    cluster.net.run(70.0)
    return network, taken


def check(path, network, connects, taken):
    text = path.read_text()
    refused = sum(network._refusals.totals.values())
    assert refused + taken == connects
    said = sum(map(int, re.findall(r"lines suppressed: (\d+)", text)))
    lines = text.count("\n")
    assert said + lines >= refused, "who was refused is counted in lines"
    return len(text)


@pytest.mark.parametrize("hello", [False, True])
@pytest.mark.parametrize(("per_second", "groups"), [(1000.0, 1), (1000.0, 3000), (2.0, 50)])
def test_a_storm_of_connects_is_summed_up(cluster, log, per_second, groups, hello):
    connects = 10_000
    network, taken = storm(cluster, connects, per_second, groups, hello)
    size = check(log, network, connects, taken)
    assert size < 150_000, f"{size} bytes for {connects} connects"
    if hello and taken > 1000:
        assert "more peers dialled us" in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("per_second", "groups", "hello"), [(1000.0, 5000, True), (40.0, 100, True), (100_000.0, 1, False)]
)
def test_a_million_hostile_connects_add_less_than_ten_megabytes(cluster, log, per_second, groups, hello):
    connects = 1_000_000
    network, taken = storm(cluster, connects, per_second, groups, hello)
    size = check(log, network, connects, taken)
    assert size < 10_000_000, f"{size} bytes for {connects} connects"
    assert log.read_text().count("lines suppressed: ") >= 1
