"""The gate of a network: bans, rates and budgets, always on, before anything is decoded or a plugin is asked.

It answers for every connection, either way, every datagram and, through a session's `Budget`, every message. A refusal
is counted; a million of them are a few lines of log (`Refusals`), or an attacker would fill the disk by being refused.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from p2pframe.config.settings import Limits
from p2pframe.core.bans import BanList
from p2pframe.core.events import Events
from p2pframe.core.limits import BucketTable, Budget, Rates, TokenBucket
from p2pframe.interfaces.context import Metrics
from p2pframe.interfaces.datagram import IDatagramReceiver
from p2pframe.model import ALLOW, Action, PeerAddress, PeerId, Penalty, Verdict, netgroup

SUMMARY_EVERY = 60.0
"""Seconds between two lines about refusals for the same reason."""
REASONS = 64
"""Reasons that are told apart; they are stable words, and a plugin that makes them up can't fill memory."""

_TOO_MANY = Verdict(
    Action.DISCONNECT, "gate.rate", "accept-rate", "more connections a second than limits.accepts_per_second"
)
_TOO_MANY_GROUP = Verdict(
    Action.DISCONNECT, "gate.rate", "netgroup-rate", "more connections a second than limits.netgroup_accepts_per_second"
)
_HANDSHAKES = Verdict(Action.DISCONNECT, "gate.handshakes", "handshakes", "limits.handshakes are under way")


class _Tally:
    """Refusals for one reason: since the latest line, and the latest of them."""

    __slots__ = ("address", "count", "rule", "said", "total")

    def __init__(self, rule: str, now: float) -> None:
        self.rule = rule
        self.said = now
        self.count = 0
        self.total = 0
        self.address: PeerAddress | None = None


class Refusals:
    """Says who was refused: the first of each reason at once, the others as one line and one event a minute and reason.

    Every one of them is counted in the metric `refusals`. Times are seconds of the reactor's clock.
    """

    log = Logger()

    def __init__(self, network: str, metrics: Metrics, events: Events, log: Logger | None = None) -> None:
        self._network = network
        self._events = events
        if log is not None:
            self.log = log
        self._tallies: dict[str, _Tally] = {}
        self._counter = metrics.counter("refusals", "Peers refused, by reason.", ("reason",))

    def note(self, verdict: Verdict, address: PeerAddress, now: float) -> None:
        """Note that a peer was refused, by the verdict's reason."""
        reason = verdict.reason
        tally = self._tallies.get(reason)
        if tally is None:
            if len(self._tallies) >= REASONS:
                reason = "other"
                tally = self._tallies.get(reason)
            if tally is None:
                tally = self._tallies[reason] = _Tally(verdict.rule, now - SUMMARY_EVERY)
        self._counter.add(1, reason)
        tally.total += 1
        if now - tally.said < SUMMARY_EVERY:
            tally.count += 1
            tally.address = address
            return
        if tally.count:
            self._summarise(reason, tally, now)
            tally.count = 1
            tally.address = address
            return
        tally.said = now
        self.log.info(
            "refused {peer}: {reason} ({rule}{evidence})",
            network=self._network, peer=str(address), reason=reason, rule=verdict.rule,
            evidence=f": {verdict.evidence}" if verdict.evidence else "",
        )  # fmt: skip
        self._events.emit(
            "peer.refused", self._network, None, address, rule=verdict.rule, reason=reason, evidence=verdict.evidence
        )

    def flush(self, now: float, everything: bool = False) -> None:
        """Say what has been held back for a minute (at stop: all of it). Called with every tick."""
        for reason, tally in self._tallies.items():
            if tally.count and (everything or now - tally.said >= SUMMARY_EVERY):
                self._summarise(reason, tally, now)

    @property
    def totals(self) -> dict[str, int]:
        """How many were refused since the start, by reason."""
        return {reason: tally.total for reason, tally in self._tallies.items()}

    def _summarise(self, reason: str, tally: _Tally, now: float) -> None:
        seconds = round(now - tally.said)
        self.log.info(
            "refused {count} more in {seconds} s: {reason} ({rule}), the latest {peer}; {total} in all;"
            " lines suppressed: {count}",
            network=self._network, count=tally.count, seconds=seconds, reason=reason, rule=tally.rule,
            peer=str(tally.address), total=tally.total,
        )  # fmt: skip
        self._events.emit(
            "peer.refused", self._network, None, tally.address,
            rule=tally.rule, reason=reason, count=tally.count, seconds=seconds,
        )  # fmt: skip
        tally.count = 0
        tally.said = now


class Gate:
    """The gate of one network.

    Times are seconds of the reactor's clock; bans go by unix time, which the ban list reads itself.

    `inbound` says how many inbound slots are taken, and how many there are.
    """

    def __init__(
        self,
        network: str,
        limits: Limits,
        bans: BanList,
        metrics: Metrics,
        refusals: Refusals,
        inbound: Callable[[], tuple[int, int]],
    ) -> None:
        self._network = network
        self._bans = bans
        self._refusals = refusals
        self._inbound = inbound
        self._limits = limits
        self._rates = Rates(
            limits.messages_per_second, limits.messages_burst, limits.bytes_per_second, limits.bytes_burst
        )
        self._accepts = TokenBucket(limits.accepts_per_second, limits.accepts_burst)
        forgotten = metrics.counter(
            "netgroups_forgotten", "Netgroups whose rate was forgotten early: limits.netgroups is full."
        )
        self._group_accepts: BucketTable[str] = BucketTable(
            limits.netgroup_accepts_per_second, limits.netgroup_accepts_burst, limits.netgroups, forgotten
        )
        self._datagrams = TokenBucket(limits.datagrams_per_second, limits.datagrams_burst)
        self._group_datagrams: BucketTable[str] = BucketTable(
            limits.netgroup_datagrams_per_second, limits.netgroup_datagrams_burst, limits.netgroups, forgotten
        )
        self.handshakes = 0
        """Inbound connections let through whose handshake is not over."""
        self._accepted = metrics.counter("inbound_accepted_total", "Inbound connections that the gate let in.")
        self._handshaking = metrics.gauge("inbound_handshakes", "Inbound sessions in the handshake.")
        self._dropped = metrics.counter("datagrams_dropped", "Datagrams dropped at the gate, by reason.", ("reason",))

    def reconfigure(self, limits: Limits) -> None:
        """Take new limits; what has been spent stays spent."""
        self._limits = limits
        self._rates.configure(
            limits.messages_per_second, limits.messages_burst, limits.bytes_per_second, limits.bytes_burst
        )
        self._accepts.rate, self._accepts.burst = limits.accepts_per_second, limits.accepts_burst
        self._datagrams.rate, self._datagrams.burst = limits.datagrams_per_second, limits.datagrams_burst
        self._group_accepts.configure(
            limits.netgroup_accepts_per_second, limits.netgroup_accepts_burst, limits.netgroups
        )
        self._group_datagrams.configure(
            limits.netgroup_datagrams_per_second, limits.netgroup_datagrams_burst, limits.netgroups
        )

    def accept(self, address: PeerAddress, now: float) -> Verdict:
        """Called for each inbound connection, before anything is made for it. A refusal is counted and told of here.

        Whoever is let in counts as being in the handshake until `handshake_over` is called, once.
        """
        verdict = self._judge(address, now)
        if verdict.action is Action.ALLOW:
            self.handshakes += 1
            self._accepted.add()
            self._handshaking.set(self.handshakes)
        else:
            self._refusals.note(verdict, address, now)
        return verdict

    def handshake_over(self) -> None:
        """Called once for each inbound connection that was let in: when its session has opened, or has ended before."""
        self.handshakes -= 1
        self._handshaking.set(self.handshakes)

    def dial(self, address: PeerAddress, peer_id: PeerId | None = None) -> Verdict:
        """Called before each automatic dial: neither banned nor discouraged peers are dialled.

        Not counted as a refusal.
        """
        penalty = self._bans.check(address, peer_id, self._network)
        return ALLOW if penalty is None else _by(penalty)

    def identified(self, address: PeerAddress, peer_id: PeerId | None) -> Verdict:
        """Called when a peer id has been proved: bans of ids can hold only now. A refusal is told of by the caller."""
        penalty = self._bans.check(address, peer_id, self._network)
        return ALLOW if penalty is None or penalty.action is not Action.BAN else _by(penalty)

    @property
    def netgroups(self) -> int:
        """Netgroups whose rate is remembered, of connections or of datagrams, whichever are more."""
        return max(len(self._group_accepts), len(self._group_datagrams))

    def budget(self, now: float) -> Budget:
        """A new session's budget of messages and bytes: full."""
        return Budget(self._rates)

    def datagram(self, source: PeerAddress, now: float, data: bytes, receiver: IDatagramReceiver) -> bool:
        """Called for each datagram before it is looked at: False to drop it, which is counted.

        The source may be forged, so nothing here is held against it but its netgroup's rate; and what answers a
        question of ours in a way that could not be guessed passes any rate: a flood forged from a peer's address must
        not keep us from hearing that peer.
        """
        if self._bans.check(source, None, self._network) is not None:
            self._dropped.add(1, "banned")
            return False
        # The netgroup first: what one group sends too much must not use up what is there for all.
        if not self._group_datagrams.take(netgroup(source), 1, now):
            reason = "netgroup-rate"
        elif not self._datagrams.take(1, now):
            reason = "rate"
        else:
            return True
        if receiver.awaited(data, source):
            return True
        self._dropped.add(1, reason)
        return False

    def _judge(self, address: PeerAddress, now: float) -> Verdict:
        penalty = self._bans.check(address, None, self._network)
        if penalty is not None:
            if penalty.action is Action.BAN:
                return _by(penalty)
            used, allowed = self._inbound()
            # Who would take the last slot, or have another evicted for it. Before that they harm nobody, as in Bitcoin
            # Core.
            if used + 1 >= allowed:
                return _by(penalty)
        if self.handshakes >= self._limits.handshakes:
            return _HANDSHAKES
        # The netgroup first, for the same reason as with datagrams.
        if not self._group_accepts.take(netgroup(address), 1, now):
            return _TOO_MANY_GROUP
        if not self._accepts.take(1, now):
            return _TOO_MANY
        return ALLOW


def _by(penalty: Penalty) -> Verdict:
    """The refusal that a penalty leads to; the evidence says which entry, and why it was made."""
    banned = penalty.action is Action.BAN
    evidence = f"{penalty.subject} in {penalty.scope} by {penalty.rule}: {penalty.reason}"
    if penalty.evidence:
        evidence += f" ({penalty.evidence})"
    return Verdict(
        Action.DISCONNECT, "gate.ban" if banned else "gate.discouraged", "banned" if banned else "discouraged", evidence
    )
