"""A session as others may see it: frozen at the time of the call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2pframe.model import SessionSnapshot

if TYPE_CHECKING:
    from p2pframe.core.session import Session


def snapshot_of(session: Session) -> SessionSnapshot:
    """The session as others may see it."""
    counters, handshake, story = session.counters, session.handshake, session.story
    rate_in, rate_out, messages_in, messages_out = story.rates.all
    scores = session.network.scores_of(session.id)
    values = [score.value for score, counts in scores if counts]
    return SessionSnapshot(
        id=session.id,
        network=session.network.name,
        address=session.address,
        netgroup=session.netgroup,
        slot=session.slot,
        state=session.state,
        transport=session.via.name,
        started=counters.started,
        opened=counters.opened,
        inbound=session.inbound,
        peer_id=session.info.peer_id or (handshake.peer_id if handshake else None),
        version=handshake.version if handshake else None,
        services=handshake.services if handshake else frozenset(),
        agent=handshake.agent if handshake else "",
        encryption=session.info.encryption,
        ping=counters.ping,
        best_ping=counters.best_ping,
        last_receive=counters.last_receive,
        last_send=counters.last_send,
        last_item=counters.last_item,
        last_block=counters.last_block,
        bytes_in=counters.bytes_in,
        bytes_out=counters.bytes_out,
        messages_in=dict(counters.messages_in),
        messages_out=dict(counters.messages_out),
        message_bytes_in=dict(counters.message_bytes_in),
        accepted_items=counters.accepted_items,
        rejected_items=counters.rejected_items,
        timeouts=counters.timeouts,
        send_queue=session.queued,
        score=sum(values) / len(values) if values else None,
        scores=tuple(score for score, _ in scores),
        relays=not session.was_open or len(session.links) == len(session.network.protocol.topics),
        useful=session.useful_count,
        protected=session.protected,
        sole_source=session.network.is_sole_source(session),
        rate_in=rate_in,
        rate_out=rate_out,
        message_rate_in=messages_in,
        message_rate_out=messages_out,
        errors=counters.rejected_items + story.errors,
    )
