"""Nobody may use us to flood another: what is sent to an address that may be forged is little more than what came.

A source is *proven* for some minutes once it has answered a query of ours, or shown a token that was sent to it. To
others a reply, counted with its IP and UDP headers, is less than three times the query, by some margin; what is
larger (values, the nodes of a second family) is paid from a budget for its subnet and one for all. So a stranger's
first query is answered in full in peace, and a forged flood brings the victim no more than three times what it cost.
"""

from __future__ import annotations

from p2pframe.interfaces import IContext
from p2pframe.model import PeerAddress
from p2pframe.protocols.mainline.config import MainlineConfig
from p2pframe.protocols.mainline.routable import subnet, wide_subnet

FREE = 2.75
"""What an unproven source gets for each byte of its own; the budgets come out of what is left to three."""
_HEADERS, _HEADERS6 = 28, 48


def headers(host: str) -> int:
    """Bytes of IP and UDP headers of a datagram to or from that host."""
    return _HEADERS6 if ":" in host else _HEADERS


class Buckets:
    """Token buckets by key; `most` are remembered, and the one longest unused is forgotten first."""

    __slots__ = ("_full_at", "burst", "most", "rate", "shed")

    def __init__(self, rate: float, burst: float, most: int) -> None:
        self.rate = rate
        self.burst = burst
        self.most = most
        self.shed = 0
        self._full_at: dict[str, float] = {}

    def take(self, key: str, amount: float, now: float) -> bool:
        """Take so much, or nothing and say False."""
        kept = self._full_at
        full_at = kept.get(key, 0.0)
        after = (full_at if full_at > now else now) + amount / self.rate
        if after - now > self.burst / self.rate + 1e-6:
            return False
        if full_at:
            del kept[key]
        elif len(kept) >= self.most:
            del kept[next(iter(kept))]
            self.shed += 1
        kept[key] = after
        return True

    def resize(self, most: int) -> None:
        """Remember so many from now on."""
        self.most = most
        while len(self._full_at) > most:
            del self._full_at[next(iter(self._full_at))]
            self.shed += 1

    def give_back(self, key: str, amount: float) -> None:
        """What was taken and not used."""
        if key in self._full_at:
            self._full_at[key] -= amount / self.rate


class Guard:
    """Rates and budgets for those who ask. Times are seconds of the reactor's clock."""

    def __init__(self, config: MainlineConfig, context: IContext) -> None:
        self._proven: dict[str, float] = {}
        self._queries = Buckets(config.queries_per_second, config.queries_burst, config.sources)
        self._stores = Buckets(config.stores_per_second, config.stores_burst, config.sources)
        self._subnets = Buckets(config.subnet_budget, config.subnet_burst, config.sources)
        self._all = Buckets(config.budget, config.budget_burst, 1)
        self._forgotten = context.metrics.counter(
            "dht_sources_forgotten_total", "Sources whose rate or proof was forgotten early: `sources` is full.",
            ["what"]
        )
        self._turned_away = context.metrics.counter(
            "dht_stores_turned_away_total", "Peers and items that were not stored, or made room, by which bound.",
            ["bound"]
        )
        self.reconfigure(config)

    def reconfigure(self, config: MainlineConfig) -> None:
        """Take new live options; what has been spent stays spent."""
        self._config = config
        for buckets, rate, burst in (
            (self._queries, config.queries_per_second, config.queries_burst),
            (self._stores, config.stores_per_second, config.stores_burst),
            (self._subnets, config.subnet_budget, config.subnet_burst),
            (self._all, config.budget, config.budget_burst),
        ):
            buckets.rate, buckets.burst = rate, burst
            if buckets is not self._all:
                buckets.resize(config.sources)

    def prove(self, source: PeerAddress, now: float) -> None:
        """It has answered what could not be guessed: it is where it says."""
        proven = self._proven
        host = source.host
        if host in proven:
            del proven[host]
        elif len(proven) >= self._config.sources:
            del proven[next(iter(proven))]
            self._forgotten.add(1, "proof")
        proven[host] = now + self._config.proven_for

    def proven(self, source: PeerAddress, now: float) -> bool:
        """Whether it was, lately."""
        return self._proven.get(source.host, 0.0) > now

    def query(self, source: PeerAddress, now: float) -> bool:
        """Whether a query of this address (on IPv6: of its /64) is to be looked at: False where it asks too often."""
        host = source.host
        return self._queries.take(subnet(host) if ":" in host else host, 1, now)

    def store(self, source: PeerAddress, now: float) -> bool:
        """Whether an announcement or a put of this address is to be taken: False where its subnet stores too often."""
        if self._stores.take(subnet(source.host), 1, now):
            return True
        self._turned_away.add(1, "rate")
        return False

    def room(self, source: PeerAddress, size: int) -> int:
        """Bytes of a reply that an unproven source gets for a query of `size` bytes without a budget."""
        extra = _HEADERS6 if ":" in source.host else _HEADERS
        return int(FREE * (size + extra)) - extra

    def pay(self, source: PeerAddress, over: int, now: float) -> bool:
        """Take bytes beyond `room` from the budgets of its subnet and of all; False where one is spent."""
        key = wide_subnet(source.host)
        if not self._subnets.take(key, over, now):
            return False
        if not self._all.take("", over, now):
            self._subnets.give_back(key, over)
            return False
        return True

    def count(self) -> None:
        """Tell the counters what was forgotten since the last time."""
        for name, buckets in (("rate", self._queries), ("stores", self._stores), ("budget", self._subnets)):
            shed, buckets.shed = buckets.shed, 0
            self._forgotten.add(shed, name)
