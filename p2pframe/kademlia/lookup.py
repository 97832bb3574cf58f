"""Kademlia's iterative lookup, as a machine without I/O: whom to ask next, and when the nearest nodes are known.

    lookup = Lookup(target, own, start)
    for candidate in lookup.ask(): ...      send each a query
    lookup.answered(candidate, nodes)       its answer; then ask() again
    lookup.late(candidate)                  no answer yet: one more may be asked meanwhile
    lookup.failed(candidate)                no answer will come
    for candidate, target in lookup.wider(): ...    send each a query for another target
    lookup.widened(candidate, nodes)        its answer, or none
    lookup.done, lookup.closest()

It is done when the k nearest nodes of all that may still be there have answered. Nobody is waited for in vain: one
whose answer is late stands aside for the next in line, and its own answer counts when it comes. With several `paths`
no node is asked on two of them: an answer that is a lie leads one path astray, not all (S/Kademlia, section 4.4).

Where nodes have died, those near the target still tell of them, and of nobody in their place: living ones are missed.
So the next shells around the target are asked for as well: the nodes whose distance has its highest bit at b are
those nearest to the target with bit b turned over, in the same order.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Hashable, Iterable
from heapq import nsmallest
from typing import Generic, TypeVar

A = TypeVar("A", bound=Hashable)

NEW, ASKED, LATE, ANSWERED, FAILED = range(5)
_PASSED_BY = frozenset((LATE, FAILED))
_WIDEST = 3
"""Late answers let at most so many times `alpha` queries be under way."""
_ROUNDS = 3
"""How often a lookup that met the dead looks farther out."""
_SHELLS = 2
"""Shells that one round looks at."""


class Candidate(Generic[A]):
    """A node that a lookup knows of. `id` is None for an address to start at, until it has answered."""

    __slots__ = ("address", "distance", "hop", "id", "path", "state")

    def __init__(self, identity: int | None, address: A, distance: int, path: int, hop: int) -> None:
        self.id = identity
        self.address = address
        self.distance = distance
        self.path = path
        self.hop = hop
        self.state = NEW

    def __lt__(self, other: Candidate[A]) -> bool:
        return self.distance < other.distance


class Lookup(Generic[A]):
    """A lookup of `target` by the node `own`, from the nodes `start` on (id and address of each); ids have `bits` bits.

    `k` nearest are looked for with `alpha` queries at once (for each of `paths` its share). One `host` is asked once,
    and one of a `group`; at most `most` nodes are remembered, and asked; `per_reply` are taken from an answer.
    """

    def __init__(
        self,
        target: int,
        own: int | None,
        start: Iterable[tuple[int, A]],
        *,
        bits: int = 160,
        k: int = 8,
        alpha: int = 4,
        paths: int = 1,
        host: Callable[[A], Hashable] | None = None,
        group: Callable[[A], Hashable] | None = None,
        most: int = 1000,
        per_reply: int = 32,
    ) -> None:
        self.target = target
        self._bits = bits
        self.k = k
        self.alpha = max(1, -(-alpha // paths))
        self.most = most
        self.per_reply = per_reply
        self.queries = 0
        self.failures = 0
        self.left_out = 0
        """Nodes that were not remembered, or were forgotten again: there were `most` already."""
        self._own = own
        self._host = host
        self._group = group
        self._ids: dict[int, None] = {} if own is None else {own: None}
        self._places: dict[Hashable, None] = {}
        self._groups: dict[Hashable, None] = {}
        self._paths: list[list[Candidate[A]]] = [[] for _ in range(paths)]
        self._size = 0
        self._under_way = [0] * paths
        self._late = [0] * paths
        self._widening = 0
        self._rounds = 0
        self._known_dead = 0
        for number, (identity, address) in enumerate(
            sorted(start, key=lambda one: one[0] ^ target)
        ):  # fmt: skip
            self._add(identity, address, number % paths, 0)

    def start_at(self, addresses: Iterable[A]) -> None:
        """Addresses to ask whose ids are not known: they are asked after everybody who is known to be near."""
        far = 1 << 4096
        for number, address in enumerate(addresses):
            if address in self._places or self._size >= self.most:
                continue
            self._places[address] = None
            path = number % len(self._paths)
            insort(self._paths[path], Candidate(None, address, far + number, path, 0))
            self._size += 1

    def ask(self) -> list[Candidate[A]]:
        """Whom to ask now; each counts as asked from here on."""
        chosen: list[Candidate[A]] = []
        for path in range(len(self._paths)):
            free = min(self.alpha + self._late[path], _WIDEST * self.alpha) - self._under_way[path]
            if free <= 0:
                continue
            for candidate in self._wanted(path):
                if self.queries >= self.most:
                    return chosen
                candidate.state = ASKED
                self._under_way[path] += 1
                self.queries += 1
                chosen.append(candidate)
                free -= 1
                if not free:
                    break
        return chosen

    def answered(self, candidate: Candidate[A], nodes: Iterable[tuple[int, A]]) -> None:
        """It has answered, and told of these. Also taken from one that had failed: it was only slow."""
        if candidate.state == ANSWERED:
            return
        self._settle(candidate)
        candidate.state = ANSWERED
        if candidate.id is not None and candidate.distance != candidate.id ^ self.target:
            self._found_id(candidate)
        self._learn(candidate, nodes)

    def told(self, candidate: Candidate[A], nodes: Iterable[tuple[int, A]]) -> None:
        """It has told of these, and is none of the nodes looked for itself (a router with any id)."""
        self._settle(candidate)
        candidate.state = FAILED
        self._learn(candidate, nodes)

    def late(self, candidate: Candidate[A]) -> None:
        """Its answer takes longer than usual: another one may be asked as well."""
        if candidate.state == ASKED:
            candidate.state = LATE
            self._late[candidate.path] += 1

    def failed(self, candidate: Candidate[A]) -> None:
        """It is not waited for any more."""
        if candidate.state in (ASKED, LATE):
            self._settle(candidate)
            candidate.state = FAILED
            self.failures += 1

    def wider(self) -> list[tuple[Candidate[A], int]]:
        """Whom to ask for which other target, where some of the nearest have died; mostly nobody."""
        if self._widening or not self._all_done():
            return []
        dead = self._dead_near()
        if dead <= self._known_dead or self._rounds >= _ROUNDS:
            return []
        self._known_dead = dead
        self._rounds += 1
        answered = [one for path in self._paths for one in path if one.state == ANSWERED and one.id is not None]
        told = sorted(
            one.distance for path in self._paths for one in path if one.state in (ANSWERED, FAILED) and one.id is not
            None
        )[: self.k]
        first = max(0, told[-1].bit_length() - 1)
        asked = [
            (one, self.target ^ 1 << shell)
            for shell in range(first, min(first + _SHELLS, self._bits))
            for one in nsmallest(self.alpha, answered, key=lambda one: one.distance ^ 1 << shell)
        ]
        asked = asked[: max(0, self.most - self.queries)]
        self.queries += len(asked)
        self._widening = len(asked)
        return asked

    def widened(self, candidate: Candidate[A], nodes: Iterable[tuple[int, A]]) -> None:
        """One of those asked by `wider` has told of these; nobody where it has not answered."""
        self._widening -= 1
        self._learn(candidate, nodes)

    @property
    def done(self) -> bool:
        """Whether nobody is to be asked or waited for any more."""
        if self._widening or not self._all_done():
            return False
        return not self.failures or self._rounds >= _ROUNDS or self._dead_near() <= self._known_dead

    def closest(self) -> list[Candidate[A]]:
        """The nearest nodes that have answered, nearest first; at most k."""
        answered = [one for path in self._paths for one in path if one.state == ANSWERED and one.id is not None]
        answered.sort()
        return answered[: self.k]

    @property
    def hops(self) -> int:
        """How many nodes told of one another on the way to the nearest one; 0 without any."""
        nearest = self.closest()
        return nearest[0].hop + 1 if nearest else 0

    # --- within ---

    def _wanted(self, path: int) -> list[Candidate[A]]:
        """Those to be asked next: new ones among the k nearest, where who has failed or is late does not count."""
        wanted: list[Candidate[A]] = []
        left = self.k
        for candidate in self._paths[path]:
            state = candidate.state
            if state in _PASSED_BY:
                continue
            if state == NEW:
                wanted.append(candidate)
            left -= 1
            if not left:
                break
        return wanted

    def _dead_near(self) -> int:
        """How many have failed that are nearer than the k-th that has answered; 0 where nobody has."""
        if not self.failures:
            return 0
        nearest = self.closest()
        if not nearest:
            return 0
        reach = nearest[-1].distance if len(nearest) >= self.k else 1 << 4096
        return sum(one.state == FAILED and one.distance < reach for path in self._paths for one in path)

    def _all_done(self) -> bool:
        return False not in map(self._path_done, self._paths)

    def _path_done(self, path: list[Candidate[A]]) -> bool:
        """Nobody is new, asked or late among the nearest up to the k-th that has answered."""
        left = self.k
        for candidate in path:
            state = candidate.state
            if state == ANSWERED:
                left -= 1
                if not left:
                    return True
            elif state != FAILED and (state != NEW or self.queries < self.most):
                return False
        return True

    def _settle(self, candidate: Candidate[A]) -> None:
        if candidate.state in (ASKED, LATE):
            self._under_way[candidate.path] -= 1
            if candidate.state == LATE:
                self._late[candidate.path] -= 1

    def _found_id(self, candidate: Candidate[A]) -> None:
        """An address to start at has said who it is."""
        identity = candidate.id
        path = self._paths[candidate.path]
        path.remove(candidate)
        if identity is None or identity in self._ids:
            self._size -= 1
            return
        self._ids[identity] = None
        candidate.distance = identity ^ self.target
        insort(path, candidate)

    def _learn(self, candidate: Candidate[A], nodes: Iterable[tuple[int, A]]) -> None:
        known = self._ids
        for number, (identity, address) in enumerate(nodes):
            if number >= self.per_reply:
                break
            if identity not in known:
                self._add(identity, address, candidate.path, candidate.hop + 1)

    def _add(self, identity: int, address: A, path: int, hop: int) -> None:
        if identity in self._ids:
            return
        places = self._places
        host: Hashable = address
        if self._host is not None:
            host = self._host(address)
            if host in places:
                return
        # Addresses to start at stand by themselves.
        if address in places:
            return
        group = None if self._group is None else self._group(address)
        if group is not None and group in self._groups:
            return
        held = self._paths[path]
        if self._size >= self.most:
            # Only a nearer one gets in, for the farthest that nobody has asked yet.
            self.left_out += 1
            last = held[-1] if held else None
            if last is None or last.state != NEW or identity ^ self.target >= last.distance:
                return
            held.pop()
            self._size -= 1
        self._ids[identity] = None
        places[host] = None
        if group is not None:
            self._groups[group] = None
        candidate = Candidate(identity, address, identity ^ self.target, path, hop)
        if not held or held[-1].distance <= candidate.distance:
            held.append(candidate)
        else:
            insort(held, candidate)
        self._size += 1
