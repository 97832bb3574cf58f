"""The peers that others have announced to us: packed bytes, one run for each infohash and family.

A million peers have to fit, so a peer is no object: 11 bytes for IPv4, 23 for IPv6.

    host 4 or 16 | port 2 | flags 1 (1: a seed) | announced 4, seconds of the reactor's clock

A peer that announces again moves to the end of its run, and the infohash to the end of the table: what is oldest is
always in front. One address is one peer of an infohash, whatever ports it names (BEP 33).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from p2pframe.interfaces import Counter
from p2pframe.protocols.mainline.bloom import Bloom
from p2pframe.protocols.mainline.config import MainlineConfig

_TAIL = 7
"""Bytes of a record after its host."""
_SEED = 1
_SWEEP = 2_000
"""Infohashes that one call of `expire` looks at, at most."""
_FILTERS = 64
"""Infohashes whose filters are kept for a while: making them costs a hash for each peer."""
_FILTERS_FOR = 60.0


class PeerStore:
    """Peers by infohash, for both families. Times are seconds of the reactor's clock."""

    def __init__(self, config: Callable[[], MainlineConfig], rng: Callable[[], Random], turned_away: Counter) -> None:
        self._config = config
        self._rng = rng
        self._turned_away = turned_away
        self._runs: dict[bool, dict[bytes, bytes]] = {False: {}, True: {}}
        self._size = 0
        self._filters: dict[bytes, tuple[float, bytes, bytes]] = {}
        self._sample: tuple[bytes, ...] = ()
        self._sampled = -1.0

    @property
    def size(self) -> int:
        """Peers held."""
        return self._size

    @property
    def infohashes(self) -> int:
        """Infohashes held; one with peers of both families counts twice."""
        return len(self._runs[False]) + len(self._runs[True])

    def holds(self, info_hash: bytes, six: bool) -> bool:
        """Whether there may be peers of that family."""
        return info_hash in self._runs[six]

    def full(self, info_hash: bytes, six: bool, now: float) -> bool:
        """Whether an infohash takes no new peers: then no token is given for it (BEP 33)."""
        run, width = self._runs[six].get(info_hash, b""), 23 if six else 11
        # The oldest is in front: one that has run out makes room for the next.
        return len(run) >= self._config().peers_per_infohash * width and self._fresh(run[:width], now)

    def add(self, info_hash: bytes, host: bytes, port: int, seed: bool, now: float) -> bool:
        """A peer has announced itself; `host` has 4 or 16 bytes. False where there is no room for it."""
        config = self._config()
        six = len(host) == 16
        runs = self._runs[six]
        width = len(host) + _TAIL
        run = runs.pop(info_hash, b"")
        record = b"%b%b%b%b" % (
            host, port.to_bytes(2, "big"), b"\1" if seed else b"\0", (int(now) & 0xFFFF_FFFF).to_bytes(4, "big"),
        )  # fmt: skip
        at = _find(run, host, width)
        if at >= 0:
            runs[info_hash] = run[:at] + run[at + width :] + record
            return True
        cut = 0
        while cut < len(run) and not self._fresh(run[cut : cut + width], now):
            cut += width
        if cut:
            run = run[cut:]
            self._size -= cut // width
        why = self._no_room(run, host, width)
        if why:
            if run:
                runs[info_hash] = run
            self._turned_away.add(1, why)
            return False
        if not run and len(runs) >= config.infohashes:
            self._drop_oldest(six, "infohashes")
        while self._size >= config.peers:
            # The family that holds more makes room: neither can crowd the other out.
            most = len(self._runs[True]) > len(self._runs[False])
            self._drop_oldest(most, "peers")
        runs[info_hash] = run + record
        self._size += 1
        return True

    def values(self, info_hash: bytes, six: bool, most: int, now: float, no_seeds: bool = False) -> list[bytes]:
        """Compact addresses of at most so many peers, at random; with `no_seeds` seeds only where there are no
        others.
        """
        run = self._runs[six].get(info_hash)
        if not run:
            return []
        width = 23 if six else 11
        end = width - 5
        after = int(now - self._config().peer_lifetime)
        good = [
            run[at : at + width]
            for at in range(0, len(run), width)
            if int.from_bytes(run[at + end + 1 : at + width], "big") >= after
        ]
        if no_seeds:
            good = [one for one in good if not one[end] & _SEED] or good
        if len(good) > most:
            good = self._rng().sample(good, most)
        return [one[:end] for one in good]

    def filters(self, info_hash: bytes, now: float) -> tuple[bytes, bytes] | None:
        """The filters of the seeds and of the other peers (BEP 33), both families; None where nobody is known."""
        known = self._filters.get(info_hash)
        if known is not None and now - known[0] < _FILTERS_FOR:
            return known[1:]
        runs = [(self._runs[six].get(info_hash, b""), 23 if six else 11) for six in (False, True)]
        if not any(run for run, _ in runs):
            return None
        seeds, peers = Bloom(), Bloom()
        after = int(now - self._config().peer_lifetime)
        for run, width in runs:
            for at in range(0, len(run), width):
                if int.from_bytes(run[at + width - 4 : at + width], "big") >= after:
                    (seeds if run[at + width - 5] & _SEED else peers).add(run[at : at + width - _TAIL])
        self._filters.pop(info_hash, None)
        while len(self._filters) >= _FILTERS:
            del self._filters[next(iter(self._filters))]
        made = bytes(seeds), bytes(peers)
        self._filters[info_hash] = (now, *made)
        return made

    def sample(self, most: int, now: float) -> tuple[tuple[bytes, ...], int, int]:
        """Some infohashes at random, how many there are, and for how long the sample stays the same (BEP 51, s)."""
        interval = self._config().sample_interval
        if self._sampled < 0 or now - self._sampled >= interval or (not self._sample and self._size):
            held = [*self._runs[False], *(one for one in self._runs[True] if one not in self._runs[False])]
            self._sample = tuple(self._rng().sample(held, most) if len(held) > most else held)
            self._sampled = now
        return self._sample[:most], self.infohashes, max(0, int(self._sampled + interval - now))

    def expire(self, now: float) -> None:
        """Forget peers that have not announced themselves again; the oldest infohashes first, a bounded number."""
        after = int(now - self._config().peer_lifetime)
        for six, runs in self._runs.items():
            width = 23 if six else 11
            for info_hash in [one for one, _ in zip(runs, range(_SWEEP), strict=False)]:
                run = runs[info_hash]
                # In a run the oldest is in front, and the latest at the end.
                if int.from_bytes(run[-4:], "big") >= after:
                    break
                del runs[info_hash]
                self._size -= len(run) // width

    def dump(self, now: float) -> Iterator[tuple[bytes, bytes]]:
        """Rows for storage; times are kept as ages. Peers may come and go meanwhile."""
        for six, runs in self._runs.items():
            width = 23 if six else 11
            for info_hash in list(runs):
                run = runs.get(info_hash)
                if run is None:
                    continue
                ages = b"".join(
                    run[at : at + width - 4]
                    + max(0, int(now) - int.from_bytes(run[at + width - 4 : at + width], "big")).to_bytes(4, "big")
                    for at in range(0, len(run), width)
                )
                yield (b"peer6/" if six else b"peer4/") + info_hash, ages

    def load(self, key: bytes, row: bytes, now: float, away: float) -> bool:
        """Take what `dump` gave, `away` seconds later; False for a row that it did not give."""
        six = key.startswith(b"peer6/")
        width = 23 if six else 11
        info_hash = key[6:]
        if len(info_hash) != 20 or len(row) % width:
            return False
        for at in range(0, len(row), width):
            record = row[at : at + width]
            age = int.from_bytes(record[-4:], "big") + away
            if age < self._config().peer_lifetime:
                self.add(
                    info_hash, record[: width - _TAIL], int.from_bytes(record[width - _TAIL : width - 5], "big"),
                    bool(record[width - 5] & _SEED), max(0.0, now - age),
                )  # fmt: skip
        return True

    def _fresh(self, record: bytes, now: float) -> bool:
        return int.from_bytes(record[-4:], "big") >= int(now - self._config().peer_lifetime)

    def _no_room(self, run: bytes, host: bytes, width: int) -> str:
        """Why a run takes no new peer; empty where it does."""
        config = self._config()
        if len(run) >= config.peers_per_infohash * width:
            return "peers of an infohash"
        prefix = host[: 8 if len(host) == 16 else 3]
        if len(run) >= config.peers_per_subnet * width and run.count(prefix) >= config.peers_per_subnet:
            held = sum(run.startswith(prefix, at) for at in range(0, len(run), width))
            if held >= config.peers_per_subnet:
                return "peers of a subnet"
        return ""

    def _drop_oldest(self, six: bool, why: str) -> None:
        runs, width = self._runs[six], 23 if six else 11
        if not runs:
            runs, width = self._runs[not six], 11 if six else 23
        oldest = next(iter(runs))
        gone = runs.pop(oldest)
        self._size -= len(gone) // width
        self._turned_away.add(len(gone) // width, why)


def _find(run: bytes, host: bytes, width: int) -> int:
    """Where the record of a host begins, -1 without one."""
    at = run.find(host)
    while at >= 0 and at % width:
        at = run.find(host, at + 1)
    return at
