"""The transports on simulated hosts: the reactor is all of the world that they touch."""

from __future__ import annotations

import pytest

from p2pframe.model import PeerAddress
from p2pframe.sim.links import LinkConfig, Links, LinksConfig
from p2pframe.sim.simulation import Simulation
from p2pframe.testing.context import FakeContext
from p2pframe.transports.tcp import TcpConfig, TcpTransport
from p2pframe.transports.tls import TlsConfig, TlsTransport


@pytest.mark.parametrize(
    ("make", "config"), [(TcpTransport, TcpConfig), (TlsTransport, TlsConfig)], ids=["tcp", "tls"]
)
def test_bytes_travel_by_virtual_time_alone(make, config, end_factory):
    net = Simulation(3, Links(LinksConfig(default=LinkConfig(latency=0.05))))
    alice, bob = net.host("192.0.2.1").boot(), net.host("198.51.100.1").boot()

    def transport(host, seed, **options):
        context = FakeContext("transport.test", seed=seed, reactor=host.reactor)
        return make(config(**options), context)

    server = transport(bob, 1, listen=["198.51.100.1:8333"])
    client = transport(alice, 2)
    served = end_factory(server, b"from bob")
    [listener] = server.listeners()
    listener.endpoint.listen(served)
    expected = server.identity.peer_id if make is TlsTransport else None
    dialling = client.dial(PeerAddress("198.51.100.1", 8333), expected)
    end = net.wait(dialling.connect(end_factory(client, b"from alice")))
    net.run(2.0)
    assert end.received == b"from bob"
    assert served.built[0].received == b"from alice"
    assert end.before_proof == b"" == served.built[0].before_proof
    end.transport.loseConnection()
    net.run(2.0)
    assert end.closed.called
    assert served.built[0].closed.called
