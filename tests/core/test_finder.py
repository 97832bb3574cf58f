"""Discovery plugins: each with its yield and its errors, told apart, retried, and none in another's way."""

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from p2pframe.errors import P2PFrameError
from p2pframe.model import FoundAddress, PeerAddress, netgroup

NODE = """
version: 1
node: {data_dir: ./data}
storage: {plugin: memory}
networks:
  bitcoin:
    protocol: {plugin: bitcoin, chain: regtest}
    transports: [{plugin: tcp, listen: ["203.0.113.1:18444"]}]
    topology: {plugin: random, outbound: 1}
    discovery:
      - {plugin: file, path: ./one.txt, look: 1s}
      - {plugin: file, path: ./two.txt, look: 1s}
      - {plugin: static, peers: ["192.0.2.9:18444"]}
"""


@pytest.fixture
def network(simulation, tmp_path):
    (tmp_path / "one.txt").write_text("192.0.2.1:18444\n192.0.2.2:18444\n")
    return simulation.start(NODE, "203.0.113.1").node.networks["bitcoin"]


def test_two_of_one_name_are_told_apart_and_the_one_that_fails_is_named(simulation, network):
    simulation.run(5)
    status = network.describe().discovery
    assert list(status) == ["file", "file#2", "static"]
    assert (status["file"].found, status["file"].new, status["file"].failures, status["file"].error) == (2, 2, 0, "")
    assert status["file#2"].failures == 1
    assert "two.txt: No such file" in status["file#2"].error
    assert 0 < status["file#2"].next_try <= 12
    assert (status["file#2"].looks, status["file#2"].failed, status["file#2"].last_success) == (1, 1, 0.0)
    assert status["file"].looks >= 1 and status["file"].failed == 0
    assert 0 <= network.unix_time() - status["file"].last_success <= 5


def test_what_failed_is_tried_again_later_and_later_until_it_works(simulation, network, tmp_path):
    simulation.run(120)
    failures = network.describe().discovery["file#2"].failures
    assert 2 <= failures <= 4
    (tmp_path / "two.txt").write_text("192.0.2.3:18444\n")
    simulation.run(300)
    status = network.describe().discovery["file#2"]
    assert (status.new, status.failures, status.error) == (1, 0, "")


def test_an_announcement_that_fails_is_tried_again_and_looking_goes_on(simulation, network):
    source = network.finder._sources[0]
    asked = []

    def announce(addresses):
        asked.append(simulation.clock.now)
        return fail(P2PFrameError("nobody listens")) if len(asked) < 3 else succeed(None)

    source.plugin.announce = announce
    network.finder.announce(network.ports.bound)
    simulation.run(5)
    assert network.describe().discovery["file"].error == "nobody listens"
    assert network.describe().discovery["file"].found == 2
    simulation.run(100)
    assert len(asked) == 3
    assert network.describe().discovery["file"].failures == 0


def test_a_stop_ends_announcing(simulation, network):
    source = network.finder._sources[0]
    source.plugin.announce = lambda addresses: Deferred()
    network.finder.announce(network.ports.bound)
    simulation.stop()
    assert source.announce_again is None


def test_what_peers_told_a_plugin_stands_under_their_names(simulation, network):
    source = network.finder._sources[0]
    tellers = [PeerAddress("198.51.100.1", 18444), PeerAddress("203.0.113.77", 18444), None]
    found = [FoundAddress(PeerAddress(f"192.0.2.{n + 50}", 18444), told_by=tellers[n % 3]) for n in range(30)]
    before = network.describe().discovery["file"].new
    source.plugin.find = lambda limit: succeed(found)
    source.plugin.due = lambda state: True
    simulation.run(2)
    held = {name: holds.held for name, holds in network.book.sources().items()}
    names = [f"peers of {netgroup(teller)}" for teller in tellers[:2]]
    # Two may want one place of the table.
    assert all(8 <= held[name] <= 10 for name in names)
    assert network.describe().discovery["file"].new - before == sum(held.values()) - before


def test_a_look_that_does_not_end_when_it_is_told_to_is_not_the_last(simulation, network):
    """A plugin that takes its cancellation for any failure, and goes on to wait for something else."""
    source = network.finder._sources[0]
    asked = []

    async def find():
        try:
            await Deferred()
        except Exception:
            await Deferred()
        return []

    def looking(limit):
        asked.append(simulation.clock.now)
        return Deferred.fromCoroutine(find()) if len(asked) == 1 else succeed([])

    source.plugin.find = looking
    source.plugin.due = lambda state: True
    simulation.run(network.limits.discovery_timeout + 3)
    status = network.describe().discovery["file"]
    assert (len(asked), status.failures) == (1, 1)
    assert "nothing after" in status.error
    simulation.run(20)
    assert len(asked) > 1
    assert network.describe().discovery["file"].failures == 0


def test_what_comes_of_a_look_after_its_time_is_too_late(simulation, network):
    source = network.finder._sources[0]
    late = Deferred()

    async def find():
        try:
            await Deferred()
        except Exception:
            return await late

    source.plugin.find = lambda limit: Deferred.fromCoroutine(find())
    source.plugin.due = lambda state: True
    before = network.describe().discovery["file"].found
    simulation.run(network.limits.discovery_timeout + 3)
    late.callback([FoundAddress(PeerAddress("192.0.2.77", 18444))])
    simulation.run(1)
    assert network.describe().discovery["file"].found == before
