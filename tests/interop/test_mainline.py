"""One network of three programs: 20 sessions of libtorrent, 10 nodes of npm's bittorrent-dht, and three of ours.

On loopback, where the protections against private addresses are off everywhere; `test_mainline_public` has them on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from p2pframe.protocols.mainline.signed_items import mutable_target, public_key
from tests.interop.processes import node_modules
from tests.interop.swarm import Swarm, libtorrent_swarm, npm_swarm, our_swarm

pytestmark = pytest.mark.interop
SEED = hashlib.sha256(b"a seed that everybody may know").hexdigest()


class Network(NamedTuple):
    ours: Swarm
    libtorrent: Swarm
    npm: Swarm


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    pytest.importorskip("libtorrent", reason="libtorrent is not installed: tox -e interop does that")
    modules = node_modules("bittorrent-dht")
    ours = [f"127.20.0.{number}" for number in (1, 2, 3)]
    theirs = [f"127.21.0.{number}" for number in range(1, 21)]
    others = [f"127.22.0.{number}" for number in range(1, 11)]
    routers = [[theirs[0], 6881], [theirs[1], 6881], [ours[0], 6881]]
    with ExitStack() as stack:
        libtorrent = stack.enter_context(libtorrent_swarm(theirs))
        # Cold sessions know nobody, and tell of confirmed nodes only: each is told of a few.
        libtorrent.ask("add", nodes=[[host, 6881] for host in (*theirs[:6], ours[0])])
        us = stack.enter_context(our_swarm(ours, routers=routers, options="public: false, upkeep: 1s"))
        npm = stack.enter_context(npm_swarm(modules, others, routers=routers))
        found = Network(us, libtorrent, npm)
        for swarm, wanted in ((libtorrent, 8), (us, 8), (npm, 5)):
            swarm.until("sizes", lambda sizes, wanted=wanted: min(sizes) >= wanted)
        yield found


def name(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def everybody(network: Network) -> list[tuple[str, Swarm, int]]:
    return [("ours", network.ours, 1), ("libtorrent", network.libtorrent, 7), ("npm", network.npm, 4)]


PAIRS = [("ours", other) for other in ("libtorrent", "npm")] + [(other, "ours") for other in ("libtorrent", "npm")]


def pick(network: Network, who: str, last: bool) -> tuple[Swarm, int]:
    swarm: Swarm = getattr(network, who)
    return swarm, len(swarm.addresses) - 1 if last else 0


def test_ours_know_nodes_of_all_three_programs(network: Network) -> None:
    assert min(network.ours.ask("sizes")) >= 8
    status = network.ours.ask("status", node=0)
    assert status["ready"]
    assert status["seen as 127.20.0.1:6881"] == "127.20.0.1", "libtorrent says how it sees us (BEP 42)"


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_who_announces_is_found(network: Network, one: str, other: str) -> None:
    announcer, number = pick(network, one, last=False)
    seeker, at = pick(network, other, last=True)
    info_hash = name(f"{one} to {other}")
    announcer.ask("announce", node=number, info_hash=info_hash, port=7001)
    found = seeker.until("get_peers", lambda peers: peers, node=at, info_hash=info_hash)
    assert [announcer.addresses[number], 7001] in found


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_immutable_items_go_both_ways(network: Network, one: str, other: str) -> None:
    writer, number = pick(network, one, last=False)
    reader, at = pick(network, other, last=True)
    value = f"an item from {one} to {other}"
    target = writer.ask("put_immutable", node=number, value=value)
    assert reader.until("get_immutable", lambda found: found, node=at, target=target) == value


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_mutable_items_are_updated_both_ways(network: Network, one: str, other: str) -> None:
    writer, number = pick(network, one, last=False)
    reader, at = pick(network, other, last=True)
    salt = f"{one}>{other}"
    asked = {"node": at, "salt": salt}
    if other == "npm":
        asked["target"] = mutable_target(public_key(bytes.fromhex(SEED)), salt.encode()).hex()
    else:
        asked["seed"] = SEED
    for sequence in (1, 2):
        extra = {"seq": sequence} if one == "npm" else {}
        writer.ask("put_mutable", node=number, seed=SEED, salt=salt, value=f"version {sequence}", **extra)
        found = reader.until("get_mutable", lambda item, wanted=sequence: item and item[0] == wanted, **asked)
        assert found == [sequence, f"version {sequence}"]


def test_a_put_with_another_cas_is_taken_by_nobody(network: Network) -> None:
    salt = "compare and swap"
    assert network.ours.ask("put_mutable", node=0, seed=SEED, salt=salt, value="one") >= 8
    assert network.ours.ask("put_mutable", node=1, seed=SEED, salt=salt, value="two", cas=7) == 0
    assert network.ours.ask("put_mutable", node=1, seed=SEED, salt=salt, value="two", cas=1) >= 8
    assert network.libtorrent.ask("get_mutable", node=3, seed=SEED, salt=salt) == [2, "two"]


def test_a_sample_of_libtorrents_infohashes(network: Network) -> None:
    info_hash = name("sampled")
    network.ours.ask("announce", node=2, info_hash=info_hash, port=7002)
    held = [network.ours.ask("sample", node=1, address=address) for address in network.libtorrent.addresses]
    assert any(info_hash in one for one in held)


def test_nothing_was_malformed_and_nobody_was_refused(network: Network) -> None:
    for node in range(3):
        counters = network.ours.ask("counters", node=node)
        wrong = {key: value for key, value in counters.items() if "malformed" in key and value}
        assert not wrong
