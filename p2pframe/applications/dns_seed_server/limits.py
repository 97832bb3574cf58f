"""Response rate limiting: whose answers over UDP are full, which are sent to TCP, which are not sent at all.

The source of a UDP question may be forged, and then its answer hits who is named. So each network of askers has a
budget of full answers, and all together have one of bytes by which answers are longer than their questions; beyond
either some questions are answered by "ask over TCP", which is no longer than the question and helps whoever is not
forged, and the rest by silence. So a forged flood, from however many networks, never gets more bytes out of us than it
has sent plus `all_excess_burst`, one answer, and `all_excess_per_second` for the time that it has lasted.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

from p2pframe.applications.dns_seed_server.config import DnsSeedServerConfig

FULL, SLIP, DROP = "full", "slip", "drop"


def prefix(host: str) -> bytes:
    """The network that an asker is taken for: an IPv4 /24, an IPv6 /56."""
    ip = ipaddress.ip_address(host.split("%", 1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped.packed[:3]
        return ip.packed[:7]
    return ip.packed[:3]


class _Bucket:
    __slots__ = ("beyond", "then", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.then = now
        self.beyond = 0

    def refill(self, now: float, rate: float, burst: float) -> float:
        """What there is now."""
        self.tokens = min(burst, self.tokens + (now - self.then) * rate)
        self.then = now
        return self.tokens


class ResponseRates:
    """Buckets by network, bounded: the one unused for longest is forgotten."""

    def __init__(self, config: DnsSeedServerConfig, forgotten: Callable[[], None], now: float) -> None:
        self.config = config
        self._forgotten = forgotten
        self._buckets: OrderedDict[bytes, _Bucket] = OrderedDict()
        self._all = _Bucket(config.all_excess_burst, now)

    def __len__(self) -> int:
        return len(self._buckets)

    def decide(self, host: str, now: float) -> str:
        """`full`, `slip` or `drop` for a question from `host` at `now`, in the reactor's seconds."""
        config = self.config
        key = prefix(host)
        bucket = self._buckets.get(key)
        if bucket is None:
            while len(self._buckets) >= config.prefixes:
                self._buckets.popitem(last=False)
                self._forgotten()
            bucket = self._buckets[key] = _Bucket(config.responses_burst, now)
        else:
            self._buckets.move_to_end(key)
        enough = bucket.refill(now, config.responses_per_second, config.responses_burst) >= 1
        if enough and self._all.refill(now, config.all_excess_per_second, config.all_excess_burst) > 0:
            bucket.tokens -= 1
            return FULL
        bucket.beyond += 1
        return DROP if bucket.beyond % config.slip else SLIP

    def sent(self, excess: int) -> None:
        """A full answer has so many bytes more than its question; the last one before the end may overdraw."""
        self._all.tokens -= max(0, excess)
