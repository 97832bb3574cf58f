"""Who is let in once the handshake has said who it is, and what a verdict about a peer leads to.

The order is fixed: bans by peer id, the authenticators in config order, a slot of its class. The first refusal is the
reason that is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.failure import Failure

from p2pframe.core.gate import Refusals
from p2pframe.model import Action, HandshakeInfo, Penalty, Slot, Verdict

if TYPE_CHECKING:
    from p2pframe.core.network import Network
    from p2pframe.core.session import Session


class Admission:
    """Lets the peers of one network in, or not."""

    def __init__(self, network: Network, refusals: Refusals) -> None:
        self._network = network
        self._refusals = refusals
        self._refused = network.metrics.counter(
            "sessions_refused_total", "Peers refused after the handshake.", ("rule",)
        )

    def admit(self, session: Session, info: HandshakeInfo) -> Verdict:
        """The handshake has said who it is: bans by peer id, authenticators, a slot.

        The first refusal is the reason.
        """
        verdict = self._admission(session, info)
        if not verdict:
            self._refused.add(1, verdict.rule)
            self._refusals.note(verdict, session.address, self._network.clock.seconds())
            self.act(session, verdict)
        return verdict

    def _admission(self, session: Session, info: HandshakeInfo) -> Verdict:
        network = self._network
        peer_id = session.info.peer_id or info.peer_id
        if peer_id is not None and session.slot is not Slot.MANUAL:
            verdict = network.gate.identified(session.address, peer_id)
            if not verdict:
                return verdict
        for authenticator in network.parts.authenticators:
            try:
                verdict = authenticator.admit(info, session.slot)
            except Exception:  # noqa: BLE001 - an authenticator that fails lets nobody in
                network.plugin_failed(f"authentication.{authenticator.name}", "admit", Failure())
                return Verdict(Action.DISCONNECT, f"authentication.{authenticator.name}", "failed", "the check failed")
            if not verdict:
                return verdict
        return self._claim_slot(session)

    def _claim_slot(self, session: Session) -> Verdict:
        network, topology = self._network, self._network.topology
        if topology is None or session.slot is Slot.MANUAL or session.visiting is not None:
            return Verdict(Action.ALLOW)
        allowed = network.slots().get(session.slot, 0)
        # Not those that are ending: who was refused must not hold a place for as long as it does not read why.
        used = sum(
            1
            for s in network.sessions.values()
            if s.slot is session.slot and s is not session and s.handshake and not s.closing
        )
        if used < allowed:
            return Verdict(Action.ALLOW)
        view, newcomer = network.view(), session.snapshot()
        drop = network.call_plugin("topology", "evict", None, topology.evict, view, newcomer)
        victim = network.sessions.get(drop.session) if drop is not None else None
        if drop is None or victim is None or victim is session:
            return Verdict(Action.DISCONNECT, "slots", "full", f"{used} of {allowed} {session.slot.value} slots in use")
        victim.close(drop.reason, drop.evidence)
        return Verdict(Action.ALLOW)

    def act(self, session: Session, verdict: Verdict) -> None:
        """End a session by a verdict, and remember the peer where it says so (never a manual or protected one)."""
        network = self._network
        if session.slot is not Slot.MANUAL and not session.protected:
            rule, reason, evidence = verdict.rule, verdict.reason, verdict.evidence
            if verdict.action is Action.BAN:
                peer_id = session.info.peer_id
                subject = f"id:{peer_id.hex()}" if peer_id is not None else session.address.host
                where, address = session.id, session.address

                def banned(penalty: Penalty | None) -> None:
                    # None: loopback is exempt, and nobody is banned.
                    if penalty is not None:
                        network.events.emit(
                            "peer.banned",
                            network.name,
                            where,
                            address,
                            rule=rule,
                            reason=reason,
                            evidence=evidence,
                            subject=penalty.subject,
                            until=penalty.until,
                        )

                banning = network.bans.ban(
                    subject, network.name, verdict.duration, rule, reason, evidence, automatic=True
                )
                banning.addCallbacks(
                    banned,
                    lambda failure: network.log.error("a ban was not kept: {why}", why=failure.getErrorMessage()),
                )
            elif verdict.action is Action.DISCOURAGE:
                network.bans.discourage(session.address, network.name, rule, reason, evidence)
        session.close(verdict.reason or verdict.action.name.lower(), verdict.evidence)
