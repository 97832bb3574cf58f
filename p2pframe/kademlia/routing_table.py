"""Kademlia's routing table: buckets of k contacts, the nearer to ourselves the finer.

A contact enters by answering a query of ours. Who is known longest stays as long as it answers: a newcomer waits in its
bucket's replacement cache (section 4.1 of the paper). A bucket splits only where our own id lies in it. One host is
in the table once, and one group (a subnet) once in a bucket, so that many addresses of one owner do not make many
contacts.

Times are seconds of one clock that does not go back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator
from heapq import nsmallest
from random import Random
from typing import Generic, NamedTuple, TypeVar

A = TypeVar("A", bound=Hashable)


class Contact(Generic[A]):
    """One node that has answered: `replied` when last, `heard` when it last said anything; failures since.

    `note` is for the table's owner: empty at first, and never looked at here.
    """

    __slots__ = ("address", "failures", "heard", "id", "note", "replied")

    def __init__(self, identity: int, address: A, now: float) -> None:
        self.id = identity
        self.address = address
        self.replied = now
        self.heard = now
        self.failures = 0
        self.note = b""


class Bucket(Generic[A]):
    """The contacts of a range of ids `low <= id < high`, least recently heard first; `waiting` are its replacements.

    `note` is for the table's owner, as a contact's: it is emptied whenever a contact comes, goes or fails.
    """

    __slots__ = ("contacts", "high", "low", "note", "touched", "waiting")

    def __init__(self, low: int, high: int, touched: float) -> None:
        self.low = low
        self.high = high
        self.touched = touched
        self.contacts: dict[int, Contact[A]] = {}
        self.waiting: dict[int, Contact[A]] = {}
        self.note = b""


class BucketState(NamedTuple):
    """A bucket for people: see `RoutingTable.states`. `depth` is how many first bits the ids in it share."""

    depth: int
    own: bool
    good: int
    questionable: int
    bad: int
    waiting: int
    touched: float


class RoutingTable(Generic[A]):
    """The table of the node `own`, whose ids have `bits` bits.

    `k` contacts to a bucket and `replacements` waiting for a place. A contact that was not heard of for
    `questionable_after` wants to be asked; after `bad_after` queries without an answer it goes for whoever waits.
    `refresh_after` is how long a bucket may lie unused. `host` names what may be in the table once, `group` what may be
    in a bucket once; None: no such rule. `prefer` says who takes a place from others where a bucket is full.
    `turned_away` is called with a stable word for each contact that was not taken.
    """

    def __init__(
        self,
        own: int,
        *,
        bits: int = 160,
        k: int = 8,
        replacements: int = 8,
        questionable_after: float = 900.0,
        refresh_after: float = 900.0,
        bad_after: int = 2,
        host: Callable[[A], Hashable] | None = None,
        group: Callable[[A], Hashable] | None = None,
        prefer: Callable[[int, A], bool] | None = None,
        turned_away: Callable[[str], None] | None = None,
    ) -> None:
        if not 0 <= own < 1 << bits:
            raise ValueError(f"an id has {bits} bits: {own:#x} has more")
        self.own = own
        self.bits = bits
        self.k = k
        self.replacements = replacements
        self.questionable_after = questionable_after
        self.refresh_after = refresh_after
        self.bad_after = bad_after
        self._host = host
        self._group = group
        self._prefer = prefer
        self._turned_away = turned_away or _nobody
        self._hosts: dict[Hashable, int] = {}
        self.size = 0
        self._start(0.0)

    def _start(self, now: float) -> None:
        self._buckets: list[Bucket[A]] = [Bucket(0, 1 << self.bits, now)]
        self._lows = [0]

    def __contains__(self, identity: object) -> bool:
        return isinstance(identity, int) and self.get(identity) is not None

    def get(self, identity: int) -> Contact[A] | None:
        """The contact of that id."""
        return self.bucket(identity).contacts.get(identity)

    def contacts(self) -> Iterator[Contact[A]]:
        """All of them, by bucket."""
        for bucket in self._buckets:
            yield from bucket.contacts.values()

    def shape(self) -> list[tuple[int, int, int]]:
        """For people: the size of each bucket's range in bits, its contacts, and those who wait."""
        return [((one.high - one.low).bit_length() - 1, len(one.contacts), len(one.waiting)) for one in self._buckets]

    def states(self, now: float) -> list[BucketState]:
        """For people: each bucket, by depth, the one of our own id last."""
        found = []
        for one in self._buckets:
            bad = questionable = 0
            for contact in one.contacts.values():
                if contact.failures >= self.bad_after:
                    bad += 1
                elif contact.failures or self._silent_since(contact) <= now - self.questionable_after:
                    questionable += 1
            found.append(
                BucketState(
                    self.bits - (one.high - one.low).bit_length() + 1, one.low <= self.own < one.high,
                    len(one.contacts) - bad - questionable, questionable, bad, len(one.waiting), one.touched,
                )
            )  # fmt: skip
        return sorted(found, key=lambda one: (one.depth, one.own))

    # --- what is heard ---

    def replied(self, identity: int, address: A, now: float) -> bool:
        """It has answered a query of ours: True where it is in the table now, False where it waits or was not taken."""
        if identity == self.own or not 0 <= identity < 1 << self.bits:
            self._turned_away("own id" if identity == self.own else "no id")
            return False
        bucket = self.bucket(identity)
        contact = bucket.contacts.get(identity)
        if contact is not None:
            if contact.address != address:
                # Whoever answers under a known id from elsewhere takes nothing from a contact that is there.
                if contact.failures < self.bad_after:
                    self._turned_away("id in use")
                    return False
                self._remove(bucket, contact)
            else:
                contact.replied = contact.heard = now
                contact.failures = 0
                bucket.touched = now
                del bucket.contacts[identity]
                bucket.contacts[identity] = contact
                return True
        waiting = bucket.waiting.get(identity)
        if waiting is not None:
            self._forget_waiting(bucket, waiting)
        return self._insert(Contact(identity, address, now), now)

    def heard(self, identity: int, address: A, now: float) -> bool:
        """It has asked us something. True where it is unknown and would find room: worth a query, before it is
        believed.

        A source may be forged: this refreshes a contact only at the address that it is known by, and adds nothing.
        """
        if identity == self.own or not 0 <= identity < 1 << self.bits:
            return False
        bucket = self.bucket(identity)
        contact = bucket.contacts.get(identity)
        if contact is not None:
            if contact.address == address:
                contact.heard = now
            return False
        if identity in bucket.waiting:
            return False
        if self._host is not None:
            other = self._hosts.get(self._host(address))
            if other is not None:
                # Perhaps it has a new id: an answer from the very address of the old one shows it.
                return self._address_of(other) == address
        return len(bucket.contacts) < self.k or len(bucket.waiting) < self.replacements or self._splits(bucket)

    def failed(self, identity: int, address: A, now: float) -> None:
        """It has not answered a query.

        One that does so `bad_after` times goes where somebody waits for its place, and twice as often in any case.
        """
        bucket = self.bucket(identity)
        contact = bucket.contacts.get(identity)
        if contact is None or contact.address != address:
            waiting = bucket.waiting.get(identity)
            if waiting is not None and waiting.address == address:
                self._forget_waiting(bucket, waiting)
            return
        contact.failures += 1
        bucket.note = b""
        if contact.failures >= self.bad_after and bucket.waiting:
            self._remove(bucket, contact)
            self._promote(bucket)
        elif contact.failures >= 2 * self.bad_after:
            self._remove(bucket, contact)

    def touched(self, target: int, now: float) -> None:
        """A search for this target has begun: its bucket needs no refresh for a while."""
        self.bucket(target).touched = now

    # --- what is asked ---

    def closest(self, target: int, count: int | None = None, good_only: bool = False) -> list[Contact[A]]:
        """The contacts nearest to a target, nearest first: exactly those, at most `count` (k where it is not said).

        Those that have failed `bad_after` times are left out; with `good_only` those too that have failed at all.
        """
        count = self.k if count is None else count
        limit = 1 if good_only else self.bad_after
        buckets = self._buckets
        if len(buckets) == 1:
            order = [0]
        else:
            # Every id of a bucket shares its prefix with the bucket's low end: whole buckets compare by it. Ranges are
            # aligned powers of two, so their distances to the target do not overlap.
            order = [
                at
                for _, at in sorted(
                    [((one.low ^ target) & (one.low - one.high), at) for at, one in enumerate(buckets)]
                )
            ]
        chosen: list[Contact[A]] = []
        for at in order:
            good = [one for one in buckets[at].contacts.values() if one.failures < limit]
            if not good:
                continue
            if len(good) > 1:
                wanted = count - len(chosen)
                if len(good) > 4 * wanted:
                    good = nsmallest(wanted, good, key=lambda one: one.id ^ target)
                else:
                    good.sort(key=lambda one: one.id ^ target)
            chosen += good
            if len(chosen) >= count:
                del chosen[count:]
                break
        return chosen

    def bucket(self, target: int) -> Bucket[A]:
        """The bucket that a target lies in."""
        return self._buckets[bisect_right(self._lows, target) - 1]

    def alone(self, bucket: Bucket[A]) -> bool:
        """Whether its contacts are the `closest` of every target in it, in some order."""
        return len(bucket.contacts) == self.k and all(
            one.failures < self.bad_after for one in bucket.contacts.values()
        )  # fmt: skip

    def questionable(self, now: float, limit: int) -> list[Contact[A]]:
        """Whom to ask whether they are still there: not heard for `questionable_after`, those longest silent first.

        Where somebody waits for a place, a contact that has failed is asked at once.
        """
        silent: list[Contact[A]] = []
        before = now - self.questionable_after
        for bucket in self._buckets:
            for one in bucket.contacts.values():
                if self._silent_since(one) <= before or (
                    one.failures and bucket.waiting
                ):
                    silent.append(one)
        silent.sort(key=lambda one: (one.heard, one.id))
        return silent[:limit]

    def to_refresh(self, now: float) -> list[int]:
        """The buckets (as numbers for `random_in`) that lay unused for `refresh_after`."""
        return [at for at, bucket in enumerate(self._buckets) if now - bucket.touched >= self.refresh_after]

    def random_in(self, bucket: int, rng: Random) -> int:
        """A random id in a bucket's range: the target of its refresh."""
        one = self._buckets[bucket]
        return rng.randrange(one.low, one.high)

    def rehome(self, own: int) -> None:
        """Our id is another: everybody finds a place anew, those longest known first; waiting ones too."""
        if not 0 <= own < 1 << self.bits:
            raise ValueError(f"an id has {self.bits} bits: {own:#x} has more")
        contacts = list(self.contacts())
        waiting = [one for bucket in self._buckets for one in bucket.waiting.values()]
        touched = min(bucket.touched for bucket in self._buckets)
        self.own = own
        self.size = 0
        self._hosts.clear()
        self._start(touched)
        for one in (*contacts, *waiting):
            if one.id != own:
                self._insert(one, touched)

    # --- within ---

    def _silent_since(self, one: Contact[A]) -> float:
        # What it asks us keeps a contact that has ever answered (BEP 5), though it is no proof: half as long.
        return max(one.replied, min(one.heard, one.replied + 2 * self.questionable_after))

    def _splits(self, bucket: Bucket[A]) -> bool:
        return bucket.low <= self.own < bucket.high and bucket.high - bucket.low > 1

    def _insert(self, contact: Contact[A], now: float) -> bool:
        host = None if self._host is None else self._host(contact.address)
        other = contact.id if host is None else self._hosts.get(host, contact.id)
        if other != contact.id and not self._moved(other, contact.address):
            self._turned_away("host in the table")
            return False
        while True:
            bucket = self.bucket(contact.id)
            if self._group is not None:
                group = self._group(contact.address)
                if any(
                    self._group(one.address) == group and one.id != contact.id
                    for held in (bucket.contacts, bucket.waiting)
                    for one in held.values()
                ):
                    self._turned_away("group in the bucket")
                    return False
            if len(bucket.contacts) < self.k:
                self._place(bucket, contact, host)
                return True
            if not self._splits(bucket):
                break
            self._split(bucket)
        for one in bucket.contacts.values():
            if one.failures >= self.bad_after or (
                self._prefer is not None
                and self._prefer(contact.id, contact.address)
                and not self._prefer(one.id, one.address)
            ):
                self._remove(bucket, one)
                self._place(bucket, contact, host)
                return True
        return self._wait(bucket, contact, host)

    def _address_of(self, identity: int) -> A | None:
        bucket = self.bucket(identity)
        known = bucket.contacts.get(identity) or bucket.waiting.get(identity)
        return None if known is None else known.address

    def _moved(self, identity: int, address: A) -> bool:
        """Whoever answers from the very address of a contact has taken its place, under a new id: that one is gone."""
        bucket = self.bucket(identity)
        known = bucket.contacts.get(identity) or bucket.waiting.get(identity)
        if known is None or known.address != address:
            return False
        if identity in bucket.contacts:
            self._remove(bucket, known)
            if bucket.waiting:
                self._promote(bucket)
        else:
            self._forget_waiting(bucket, known)
        return True

    def _place(self, bucket: Bucket[A], contact: Contact[A], host: Hashable) -> None:
        bucket.contacts[contact.id] = contact
        bucket.note = b""
        bucket.touched = max(bucket.touched, contact.replied)
        self.size += 1
        if self._host is not None:
            self._hosts[host] = contact.id

    def _wait(self, bucket: Bucket[A], contact: Contact[A], host: Hashable) -> bool:
        """The bucket is full of contacts that answer: wait for a place, the latest to answer being the next."""
        if len(bucket.waiting) >= self.replacements:
            if not self.replacements:
                self._turned_away("bucket full")
                return False
            self._forget_waiting(bucket, next(iter(bucket.waiting.values())))
            self._turned_away("cache full")
        bucket.waiting[contact.id] = contact
        if self._host is not None:
            self._hosts[host] = contact.id
        return False

    def _remove(self, bucket: Bucket[A], contact: Contact[A]) -> None:
        del bucket.contacts[contact.id]
        bucket.note = b""
        self.size -= 1
        self._free_host(contact)

    def _forget_waiting(self, bucket: Bucket[A], contact: Contact[A]) -> None:
        del bucket.waiting[contact.id]
        self._free_host(contact)

    def _free_host(self, contact: Contact[A]) -> None:
        if self._host is not None:
            host = self._host(contact.address)
            if self._hosts.get(host) == contact.id:
                del self._hosts[host]

    def _promote(self, bucket: Bucket[A]) -> None:
        """The latest to have answered of those who wait takes the place that has become free."""
        contact = bucket.waiting.pop(next(reversed(bucket.waiting)))
        bucket.contacts[contact.id] = contact
        bucket.note = b""
        self.size += 1

    def _split(self, bucket: Bucket[A]) -> None:
        middle = (bucket.low + bucket.high) // 2
        upper: Bucket[A] = Bucket(middle, bucket.high, bucket.touched)
        bucket.high = middle
        bucket.note = b""
        for name in ("contacts", "waiting"):
            held: dict[int, Contact[A]] = getattr(bucket, name)
            other: dict[int, Contact[A]] = getattr(upper, name)
            for identity in [one for one in held if one >= middle]:
                other[identity] = held.pop(identity)
        at = bisect_right(self._lows, bucket.low)
        self._buckets.insert(at, upper)
        self._lows.insert(at, middle)
        for half in (bucket, upper):
            while half.waiting and len(half.contacts) < self.k:
                self._promote(half)


def _nobody(reason: str) -> None:
    """Where nobody counts."""
