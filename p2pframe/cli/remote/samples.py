"""What `p2pframe top` knows of a node at a moment, and what two moments say together. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from p2pframe.admin.values import Happened, Node, Peer

Rate = tuple[float, float]
"""Bytes a second in, and out."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A node `at` a moment of this host's clock; the latest `events`, oldest first."""

    at: float
    node: Node
    peers: Sequence[Peer]
    events: Sequence[Happened]


@dataclass(frozen=True, slots=True)
class Rates:
    """By network and by session; empty where there is no sample before."""

    networks: Mapping[str, Rate] = field(default_factory=dict)
    peers: Mapping[tuple[str, int], Rate] = field(default_factory=dict)


def rates(before: Sample | None, after: Sample) -> Rates:
    """What the sessions of `after` have moved since `before`; those that have ended in between count no more.

    A session that `before` does not know began after it. So did one that is younger than it was: the node has
    started anew since, and counts from 1.
    """
    if before is None or after.at <= before.at:
        return Rates()
    elapsed = after.at - before.at
    known = {(one.network, one.id): one for one in before.peers}
    found = {}
    networks = {one.name: (0.0, 0.0) for one in after.node.networks}
    for peer in after.peers:
        old = known.get((peer.network, peer.id))
        if old is None or peer.age < old.age:
            moved = peer.bytes_in, peer.bytes_out
        else:
            moved = max(0, peer.bytes_in - old.bytes_in), max(0, peer.bytes_out - old.bytes_out)
        rate = moved[0] / elapsed, moved[1] / elapsed
        found[peer.network, peer.id] = rate
        into, out = networks.get(peer.network, (0.0, 0.0))
        networks[peer.network] = into + rate[0], out + rate[1]
    return Rates(networks, found)


SORTS = ("in", "out", "ping", "age", "score", "useful")


def ordered(sample: Sample, rates: Rates, sort: str, backwards: bool = False) -> list[Peer]:
    """The best first: most in or out, shortest ping, oldest, highest score, useful the latest.

    Who has no such figure comes last, either way.
    """

    def moved(one: Peer, way: int) -> tuple[float, float]:
        # Without rates, and between those that are idle, what they have moved in all.
        rate = rates.peers.get((one.network, one.id), (0.0, 0.0))[way]
        return rate, (one.bytes_in, one.bytes_out)[way]

    keys: dict[str, Callable[[Peer], tuple[float | None, ...]]] = {
        "in": lambda one: moved(one, 0),
        "out": lambda one: moved(one, 1),
        "ping": lambda one: (None if one.ping is None else -one.ping,),
        "age": lambda one: (one.age,),
        "score": lambda one: (one.score,),
        "useful": lambda one: (None if one.useless is None else -one.useless,),
    }
    key = keys[sort]
    # Of equals the order stays that of networks and ids, so that lines do not jump about.
    peers = sorted(sample.peers, key=lambda one: (one.network, one.id))
    known = [one for one in peers if None not in key(one)]
    known.sort(key=key, reverse=not backwards)
    return known + [one for one in peers if None in key(one)]
