"""Rates: a token bucket, and the budget of messages and bytes that one session may spend.

A bucket is kept as one number, the time at which it will be full again: nothing refills it, time does. So an idle
bucket costs nothing but that number, and a session's two buckets fit in one small object.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from p2pframe.interfaces.context import Counter

K = TypeVar("K")

RESUME_AFTER = 0.25
"""Seconds of refill that a session over its budget waits for in addition.

Without them it would pause again at each message.
"""


class TokenBucket:
    """Allows `rate` a second in the long run and `burst` at once.

    Times are seconds of one clock that does not go back.
    """

    __slots__ = ("burst", "full_at", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self.full_at = 0.0

    def take(self, amount: float, now: float) -> bool:
        """Take `amount` tokens if they are there; else take none and say False."""
        full_at = self.full_at
        if full_at < now:
            full_at = now
        full_at += amount / self.rate
        if full_at - now > self.burst / self.rate + 1e-9:
            return False
        self.full_at = full_at
        return True

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `take(amount)` would succeed; 0.0 at once, infinite where it is more than the burst."""
        if amount > self.burst:
            return float("inf")
        return max(0.0, max(self.full_at, now) + (amount - self.burst) / self.rate - now)

    def level(self, now: float) -> float:
        """The tokens that are there."""
        return self.burst - max(0.0, self.full_at - now) * self.rate

    def idle(self, now: float) -> bool:
        """Whether it is full: forgetting it then loses nothing."""
        return self.full_at <= now


class BucketTable(Generic[K]):
    """One token bucket for each key, for the `size` keys used last: who comes with ever new keys can't fill memory."""

    __slots__ = ("_buckets", "_forgotten", "burst", "rate", "size")

    def __init__(self, rate: float, burst: float, size: int, forgotten: Counter | None = None) -> None:
        self.rate = rate
        self.burst = burst
        self.size = size
        self._forgotten = forgotten
        """Counts buckets dropped for want of room before they were full again."""
        self._buckets: dict[K, TokenBucket] = {}

    def take(self, key: K, amount: float, now: float) -> bool:
        """As `TokenBucket.take`, from the bucket of `key`."""
        buckets = self._buckets
        # Taken out and put back: a dict keeps the order of insertion, so its first key is the one used least recently.
        bucket = buckets.pop(key, None)
        if bucket is None:
            bucket = TokenBucket(self.rate, self.burst)
            while len(buckets) >= self.size:
                oldest = buckets.pop(next(iter(buckets)))
                if self._forgotten is not None and not oldest.idle(now):
                    self._forgotten.add()
        buckets[key] = bucket
        return bucket.take(amount, now)

    def configure(self, rate: float, burst: float, size: int) -> None:
        """Change the rate of all buckets."""
        self.rate, self.burst, self.size = rate, burst, size
        for bucket in self._buckets.values():
            bucket.rate, bucket.burst = rate, burst
        while len(self._buckets) > size:
            del self._buckets[next(iter(self._buckets))]

    def __len__(self) -> int:
        return len(self._buckets)

    def __iter__(self) -> Iterator[K]:
        return iter(self._buckets)


class Rates:
    """What every session of one network may spend: shared by all their budgets, so that a live change reaches each."""

    __slots__ = ("byte_cost", "byte_window", "message_cost", "message_window")

    def __init__(
        self, messages_per_second: float, messages_burst: float, bytes_per_second: float, bytes_burst: float
    ) -> None:
        self.configure(messages_per_second, messages_burst, bytes_per_second, bytes_burst)

    def configure(
        self, messages_per_second: float, messages_burst: float, bytes_per_second: float, bytes_burst: float
    ) -> None:
        """Set the rates: messages and bytes a second, and how many of each at once."""
        self.message_cost = 1.0 / messages_per_second
        # The last message of a burst must not fail for a rounding error.
        self.message_window = messages_burst / messages_per_second + 1e-9
        self.byte_cost = 1.0 / max(bytes_per_second, 1)
        self.byte_window = bytes_burst / max(bytes_per_second, 1) + 1e-9


class Budget:
    """What one session has spent of its `Rates`.

    `charge` is called for every message: two comparisons and two additions.
    """

    __slots__ = ("_bytes_full_at", "_messages_full_at", "rates")

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self._messages_full_at = 0.0
        self._bytes_full_at = 0.0

    def charge(self, length: int, now: float) -> bool:
        """Charge one message of `length` bytes. False: over budget; the message is charged all the same, once.

        A debt is never larger than the message that made it, because nothing more is read while there is one.
        """
        rates = self.rates
        messages = self._messages_full_at
        if messages < now:
            messages = now
        self._messages_full_at = messages = messages + rates.message_cost
        spent = self._bytes_full_at
        if spent < now:
            spent = now
        self._bytes_full_at = spent = spent + length * rates.byte_cost
        return messages - now <= rates.message_window and spent - now <= rates.byte_window

    def ready_in(self, now: float) -> float:
        """Seconds until reading should go on; 0.0 where the session is within its budget."""
        rates = self.rates
        over = max(
            self._messages_full_at - now - rates.message_window,
            self._bytes_full_at - now - rates.byte_window,
        )
        return 0.0 if over <= 0 else over + min(RESUME_AFTER, rates.message_window, rates.byte_window)
