"""The ban list: who is kept out, in which scope, why, on whose evidence, and until when.

Bans are on disk before they are acknowledged. Discouragements are in memory only: a bounded, ordered set in which the
oldest makes room, as in Bitcoin Core. What the node does by itself holds in one network only, and never on loopback
unless `node.discourage_loopback` says so: an operator's own programs would shut each other out.
"""

from __future__ import annotations

import heapq
import ipaddress
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Literal

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from p2pframe.config.settings import NodeSettings
from p2pframe.errors import StorageFull
from p2pframe.interfaces.context import Metrics
from p2pframe.interfaces.storage import INamespace
from p2pframe.model import Action, PeerAddress, PeerId, Penalty

NODE = "node"
"""The scope of a penalty that holds in every network."""
_PREFIX = b"ban/"
_ASIDE = b"aside/"
_VERSION = 1
_TEXT = 1000
"""Characters of a reason or of evidence that are kept."""

_Kind = Literal["id", "name", 4, 6]
_Place = tuple[_Kind, int, object]
"""Where a subject stands in a scope: kind, prefix length, and the key under which that table has it."""
_BITS = {4: 32, 6: 128}


def _place(subject: str) -> tuple[str, _Place]:
    """A subject in its normal form, and its place. Raises ValueError where it is no address, network or `id:` peer."""
    if subject.startswith("id:"):
        try:
            peer_id = bytes.fromhex(subject[3:])
        except ValueError:
            peer_id = b""
        if not 1 <= len(peer_id) <= 64:
            raise ValueError(f"{subject!r} is no peer id: write id: and hexadecimal digits")
        return f"id:{peer_id.hex()}", ("id", 0, peer_id)
    text = subject.strip().strip("[]")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        if "/" in text:
            raise ValueError(f"{subject!r} is no network: write 192.0.2.0/24 or 2001:db8::/32") from None
        host = PeerAddress.of(text, 0)
        return host.host, ("name", 0, host.host)
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        network = ipaddress.ip_network((mapped, network.prefixlen - 96), strict=False)
    bits = network.max_prefixlen
    single = network.prefixlen == bits
    key = int(network.network_address) >> (bits - network.prefixlen)
    return str(network.network_address) if single else str(network), (network.version, network.prefixlen, key)


class _Scope:
    """The bans of one scope, by kind and prefix length: an address is looked up once for each length in use."""

    __slots__ = ("ids", "names", "networks", "size")

    def __init__(self) -> None:
        self.size = 0
        self.ids: dict[object, Penalty] = {}
        self.names: dict[object, Penalty] = {}
        self.networks: dict[int, dict[int, dict[object, Penalty]]] = {4: {}, 6: {}}

    def __iter__(self) -> Iterator[Penalty]:
        """Of each table the latest first."""
        yield from reversed(self.ids.values())
        yield from reversed(self.names.values())
        for tables in self.networks.values():
            for table in tables.values():
                yield from reversed(table.values())

    def table(self, place: _Place) -> dict[object, Penalty]:
        """The table that a place is in."""
        kind, length, _ = place
        if kind == "id":
            return self.ids
        if kind == "name":
            return self.names
        return self.networks[kind].setdefault(length, {})

    def put(self, place: _Place, penalty: Penalty) -> bool:
        """Put an entry in; False where it took the place of another."""
        table = self.table(place)
        new = place[2] not in table
        table[place[2]] = penalty
        self.size += new
        return new

    def pop(self, place: _Place) -> Penalty | None:
        """Take an entry out, where there is one."""
        table = self.table(place)
        penalty = table.pop(place[2], None)
        if penalty is not None:
            self.size -= 1
            if not table and place[0] in (4, 6):
                del self.networks[int(place[0])][place[1]]
        return penalty

    def find(self, address: PeerAddress, peer_id: PeerId | None) -> Penalty | None:
        """The entry that covers a peer: its id, its address, or the smallest network around it."""
        if peer_id is not None and self.ids:
            penalty = self.ids.get(bytes(peer_id))
            if penalty is not None:
                return penalty
        ip = address.ip
        if ip is None:
            return self.names.get(address.host)
        lengths = self.networks[ip.version]
        if lengths:
            value, bits = int(ip), _BITS[ip.version]
            for length in sorted(lengths, reverse=True):
                penalty = lengths[length].get(value >> (bits - length))
                if penalty is not None:
                    return penalty
        return None


class BanList:
    """The penalties of a node. Times are unix seconds; `unix_time` is the host's clock."""

    log = Logger()

    def __init__(self, settings: NodeSettings, unix_time: Callable[[], float], metrics: Metrics) -> None:
        self.settings = settings
        self._time = unix_time
        self._namespace: INamespace | None = None
        self._scopes: dict[str, _Scope] = {}
        self._size = 0
        self._expiry: list[tuple[float, str, str]] = []
        self._expiry_automatic: list[tuple[float, str, str]] = []
        self._discouraged: OrderedDict[tuple[str, str], Penalty] = OrderedDict()
        self._turned_away = metrics.counter(
            "bans_turned_away", "Penalties dropped or refused for want of room.", ("kind",)
        )
        self._counted = metrics.counter("penalties", "Penalties by kind and who made them.", ("kind", "by"))
        self._kept = metrics.gauge("penalties_in_force", "Penalties in force.", ("kind",))
        self._corrupt = metrics.counter("bans_corrupt", "Stored bans that could not be read and were set aside.")

    # --- keeping ---

    async def load(self, namespace: INamespace) -> None:
        """Read the bans from storage, and keep them there from now on. Fails with `StorageError`.

        A row that can't be read is set aside under another key, logged and counted: one bad row must not open the door
        for all the others, nor keep the node from starting.
        """
        self._namespace = namespace
        now = self._time()
        aside: list[tuple[bytes, bytes]] = []
        deletes: list[bytes] = []
        for key, value in await namespace.scan(_PREFIX, _PREFIX + b"\xff"):
            try:
                penalty = _decode(value)
                if key != _key(penalty.scope, penalty.subject):
                    raise ValueError("the row stands under another subject's key")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                self.log.error(
                    "The stored ban {key} can't be read ({error}): it is set aside as {aside} and not in force;"
                    " ban that peer again where it still matters",
                    key=key, error=str(error), aside=_ASIDE + key,
                )  # fmt: skip
                self._corrupt.add()
                aside.append((_ASIDE + key, value))
                deletes.append(key)
                continue
            if penalty.until <= now:
                deletes.append(key)
            else:
                self._insert(penalty)
        if deletes:
            await namespace.write(aside, deletes, durable=bool(aside))

    def reconfigure(self, settings: NodeSettings) -> None:
        """Take new live settings; fewer entries than there are make themselves felt at the next penalty."""
        self.settings = settings
        while len(self._discouraged) > settings.discouraged:
            self._discouraged.popitem(last=False)
            self._turned_away.add(1, "discouragement")

    # --- penalising ---

    def ban(
        self, subject: str, scope: str, duration: float | None, rule: str, reason: str, evidence: str = "",
        automatic: bool = False,
    ) -> Deferred[Penalty | None]:  # fmt: skip
        """Ban an address, a network or an `id:` peer in `scope` (a network's name or `node`).

        `duration` in seconds, None for `node.ban_time`. In force at once; fires with the entry when it is durable, or
        with None where an automatic ban was not made (loopback). Fails with `StorageError` where it could not be stored
        (it then holds until the next start), and with `StorageFull` where the list is full of the operator's own
        (nothing has changed then). Raises ValueError for a subject that is nothing of the kind, or an automatic ban of
        the whole node.
        """
        name, place = _place(subject)
        if automatic:
            if scope == NODE:
                raise ValueError(f"an automatic ban of {name} must name its network")
            if not self._applies(place):
                return succeed(None)
        now = self._time()
        span = self.settings.ban_time if duration is None else duration
        penalty = Penalty(
            name, scope, Action.BAN, rule[:_TEXT], reason[:_TEXT], evidence[:_TEXT], now, now + span, automatic
        )
        held = self._scopes[scope].table(place).get(place[2]) if scope in self._scopes else None
        if automatic and held is not None and (not held.automatic or held.until >= penalty.until):
            return succeed(held)
        deletes: list[bytes] = []
        if held is None:
            self._expire(now, deletes)
            while self._size >= self.settings.bans:
                if not self._make_room(deletes):
                    self._turned_away.add(1, "ban")
                    text = f"the ban list holds {self._size} bans of the operator's own: lift some, or raise node.bans"
                    return fail(StorageFull(text))
        self._insert(penalty)
        self._counted.add(1, "ban", "node" if automatic else "operator")
        if self._namespace is None:
            return succeed(penalty)
        stored = self._namespace.write([(_key(scope, name), _encode(penalty))], deletes, durable=True)
        return stored.addCallback(lambda _: penalty)

    def discourage(
        self,
        address: PeerAddress,
        network: str,
        rule: str,
        reason: str,
        evidence: str = "",
        duration: float | None = None,
    ) -> Penalty | None:
        """Remember a peer that misbehaved, in memory. None where loopback is exempt and this is."""
        name, place = _place(address.host)
        if not self._applies(place):
            return None
        now = self._time()
        span = self.settings.ban_time if duration is None else duration
        penalty = Penalty(
            name, network, Action.DISCOURAGE, rule[:_TEXT], reason[:_TEXT], evidence[:_TEXT], now, now + span
        )
        key = (network, name)
        self._discouraged.pop(key, None)
        while len(self._discouraged) >= self.settings.discouraged:
            self._discouraged.popitem(last=False)
            self._turned_away.add(1, "discouragement")
        self._discouraged[key] = penalty
        self._counted.add(1, "discouragement", "node")
        self._kept.set(len(self._discouraged), "discouragement")
        return penalty

    def lift(self, subject: str, scope: str = NODE) -> Deferred[bool]:
        """Lift what there is against a subject in a scope (`node`: discouragements in every network too).

        Fires with whether there was anything, when durable. Raises ValueError for a subject that is nothing of the
        kind.
        """
        name, place = _place(subject)
        networks = [key for key in self._discouraged if key[1] == name and scope in (NODE, key[0])]
        for key in networks:
            del self._discouraged[key]
        self._kept.set(len(self._discouraged), "discouragement")
        ban = self._scopes[scope].pop(place) if scope in self._scopes else None
        if ban is None:
            return succeed(bool(networks))
        self._shrunk()
        if self._namespace is None:
            return succeed(True)
        return self._namespace.write((), [_key(scope, name)], durable=True).addCallback(lambda _: True)

    # --- asking ---

    def check(
        self, address: PeerAddress, peer_id: PeerId | None, network: str, now: float | None = None
    ) -> Penalty | None:
        """The strictest penalty in force against a peer in a network: called for every connection, either way."""
        if not self._size and not self._discouraged:
            return None
        now = self._time() if now is None else now
        for scope in (NODE, network):
            bans = self._scopes.get(scope)
            while bans is not None and bans.size:
                penalty = bans.find(address, peer_id)
                if penalty is None:
                    break
                if penalty.until > now:
                    return penalty
                # It has run out; a wider one may still hold. Its row goes with the next ban or sweep.
                bans.pop(_place(penalty.subject)[1])
                self._shrunk()
        if self._discouraged:
            known = self._discouraged.get((network, address.host))
            if known is not None:
                if known.until > now:
                    return known
                del self._discouraged[network, address.host]
        return None

    def penalties(self, offset: int = 0, limit: int | None = None) -> Sequence[Penalty]:
        """What is in force, bans first; of each scope and kind of subject the latest first.

        There may be very many, so they come as they are kept: who wants a few waits for no sorting of all.
        """
        now = self._time()
        kept = chain(*self._scopes.values(), reversed(self._discouraged.values()))
        in_force = (penalty for penalty in kept if penalty.until > now)
        return list(islice(in_force, offset, None if limit is None else offset + limit))

    def sweep(self) -> Deferred[None]:
        """Drop what has run out, from memory and storage. Called now and then (a minute apart is plenty)."""
        now = self._time()
        deletes: list[bytes] = []
        self._expire(now, deletes)
        # All that one configuration adds lasts equally long, so the ones that have run out stand in front.
        while self._discouraged and next(iter(self._discouraged.values())).until <= now:
            self._discouraged.popitem(last=False)
        self._kept.set(len(self._discouraged), "discouragement")
        if not deletes or self._namespace is None:
            return succeed(None)
        return self._namespace.write((), deletes)

    def __len__(self) -> int:
        return self._size

    # --- within ---

    def _applies(self, place: _Place) -> bool:
        """Whether an automatic penalty may fall on this subject."""
        if self.settings.discourage_loopback or place[0] not in (4, 6):
            return True
        version, length, key = place
        assert isinstance(key, int)
        value = key << (_BITS[int(version)] - length)
        ip = ipaddress.IPv4Address(value) if version == 4 else ipaddress.IPv6Address(value)
        return not ip.is_loopback

    def _insert(self, penalty: Penalty) -> None:
        if self._scopes.setdefault(penalty.scope, _Scope()).put(_place(penalty.subject)[1], penalty):
            self._size += 1
        entry = (penalty.until, penalty.scope, penalty.subject)
        heapq.heappush(self._expiry, entry)
        if penalty.automatic:
            heapq.heappush(self._expiry_automatic, entry)
        # Bans that were renewed or lifted leave their old entries behind: rebuilt before they outnumber the true ones.
        if len(self._expiry) > 2 * self._size + 64:
            self._rebuild()
        self._kept.set(self._size, "ban")

    def _rebuild(self) -> None:
        bans = [penalty for scope in self._scopes.values() for penalty in scope]
        self._expiry = [(p.until, p.scope, p.subject) for p in bans]
        self._expiry_automatic = [(p.until, p.scope, p.subject) for p in bans if p.automatic]
        heapq.heapify(self._expiry)
        heapq.heapify(self._expiry_automatic)

    def _shrunk(self) -> None:
        self._size -= 1
        self._kept.set(self._size, "ban")

    def _take_out(self, entry: tuple[float, str, str], deletes: list[bytes], automatic: bool = False) -> bool:
        """Take out the ban that a heap entry speaks of, unless it has been lifted or renewed since.

        A renewal with the very same end would be taken for it, and ends with it: that is right.
        """
        until, scope, subject = entry
        place = _place(subject)[1]
        bans = self._scopes.get(scope)
        held = bans.table(place).get(place[2]) if bans is not None else None
        if bans is None or held is None or held.until != until or (automatic and not held.automatic):
            return False
        bans.pop(place)
        self._shrunk()
        deletes.append(_key(scope, subject))
        return True

    def _expire(self, now: float, deletes: list[bytes]) -> None:
        while self._expiry and self._expiry[0][0] <= now:
            entry = heapq.heappop(self._expiry)
            if not self._take_out(entry, deletes):
                # Gone from memory already (`check` drops what has run out): its row may still be there.
                bans = self._scopes.get(entry[1])
                place = _place(entry[2])[1]
                if bans is None or bans.table(place).get(place[2]) is None:
                    deletes.append(_key(entry[1], entry[2]))

    def _make_room(self, deletes: list[bytes]) -> bool:
        """Drop the automatic ban that would end first; False where there is none."""
        while self._expiry_automatic:
            if self._take_out(heapq.heappop(self._expiry_automatic), deletes, automatic=True):
                self._turned_away.add(1, "ban")
                return True
        return False


def _key(scope: str, subject: str) -> bytes:
    return _PREFIX + scope.encode() + b"/" + subject.encode()


def _encode(penalty: Penalty) -> bytes:
    row = {
        "v": _VERSION, "subject": penalty.subject, "scope": penalty.scope, "rule": penalty.rule,
        "reason": penalty.reason, "evidence": penalty.evidence, "since": penalty.since, "until": penalty.until,
        "automatic": penalty.automatic,
    }  # fmt: skip
    return json.dumps(row, separators=(",", ":")).encode()


def _decode(value: bytes) -> Penalty:
    """Raises ValueError, KeyError or TypeError for anything that `_encode` did not write."""
    row = json.loads(value)
    if row["v"] != _VERSION:
        raise ValueError(f"it is of version {row['v']!r}, this program knows {_VERSION}")
    texts = [row[name] for name in ("subject", "scope", "rule", "reason", "evidence")]
    if not all(isinstance(text, str) for text in texts) or not isinstance(row["automatic"], bool):
        raise ValueError("a field is of the wrong type")
    subject, scope, rule, reason, evidence = texts
    if _place(subject)[0] != subject:
        raise ValueError(f"{subject!r} is not in its normal form")
    return Penalty(
        subject, scope, Action.BAN, rule, reason, evidence, float(row["since"]), float(row["until"]), row["automatic"]
    )
