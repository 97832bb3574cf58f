"""A whole network in virtual time: a seed that calls on its peers for hours, and a newcomer that knows nothing else."""

import pytest
from twisted.internet.defer import Deferred
from twisted.names import client, dns

from p2pframe.model import FoundAddress, PeerAddress

PEER = """
version: 1
node: {{data_dir: ./data-{at}}}
storage: {{plugin: memory}}
networks:
  bitcoin:
    protocol: {{plugin: bitcoin, chain: regtest}}
    transports: [{{plugin: tcp, listen: ["{at}:18444"]}}]
    topology: {{plugin: random, outbound: 2}}
    discovery: [{discovery}]
"""
SERVER = """
applications:
  - plugin: dns-seed-server
    network: bitcoin
    zone: seed.example
    nameserver: ns.example
    contact: me@example.org
    listen: ["{at}:53"]
    public: false
    per_netgroup: 3
    proven_for: 3h
    check_every: 20min
    pace: 10s
"""
SEED = "198.51.100.53"
PEERS = [f"{40 + number}.{number}.0.1" for number in range(6)]
NEW = "60.1.1.1"


@pytest.fixture
def seed(simulation):
    for at in PEERS:
        simulation.start(PEER.format(at=at, discovery=""), at)
    config = PEER.format(at=SEED, discovery="") + SERVER.format(at=SEED)
    host = simulation.start(config, SEED)
    host.node.networks["bitcoin"].book.add([FoundAddress(PeerAddress(at, 18444)) for at in PEERS], "test")
    return host


def ask(simulation, name, kind=dns.A):
    """What a resolver gets from the seed, as (answers, response code)."""
    asker = simulation.at("198.51.100.99")
    resolver = client.Resolver(servers=[(SEED, 53)], reactor=asker.reactor)
    looking = resolver.queryUDP([dns.Query(name, kind)], timeout=[3])
    assert isinstance(looking, Deferred)
    message = simulation.wait(looking)
    return [one.payload.dottedQuad() for one in message.answers if one.type == dns.A], message.rCode


def test_only_who_has_answered_for_long_enough_is_told_of(simulation, seed):
    simulation.run(3600)
    assert ask(simulation, "seed.example") == ([], dns.OK)
    simulation.hosts[PEERS[5]].stop()
    simulation.run(3 * 3600)
    told, code = ask(simulation, "seed.example")
    assert code == dns.OK
    assert sorted(told) == PEERS[:5]
    assert ask(simulation, "other.example")[1] == dns.EREFUSED


def test_a_newcomer_that_knows_the_seed_alone_finds_the_network(simulation, seed):
    simulation.run(4 * 3600)
    discovery = f'{{plugin: dns-seed, seeds: [seed.example], servers: ["{SEED}"], wait: 0, ipv6: false}}'
    newcomer = simulation.start(PEER.format(at=NEW, discovery=discovery), NEW)
    network = newcomer.node.networks["bitcoin"]
    simulation.run_until(lambda: any(one.state == "open" for one in network.sessions.values()), 120)
    assert {one.address.host for one in network.sessions.values()} <= {*PEERS, SEED}
