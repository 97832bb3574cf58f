"""Sessions and addresses as core would show them to a topology, drawn from a stream."""

from __future__ import annotations

from random import Random
from types import MappingProxyType
from typing import Any

from p2pframe.model import Candidate, PeerAddress, Score, ScorePart, SessionId, SessionSnapshot, Slot, netgroup

_MESSAGES = MappingProxyType({"ping": 3, "pong": 3})  # who writes into a snapshot is told at once
STATES = ("connecting", "upgrading", "handshaking", "open", "open", "open", "open", "open")


class SaltedHost(str):
    """Text whose hash differs from run to run, so that the order of a set of addresses does."""

    salt = 0

    @classmethod
    def of(cls, text: str, salt: int) -> str:
        """Plain text without a salt."""
        if not salt:
            return text
        made = cls(text)
        made.salt = salt
        return made

    __eq__ = str.__eq__

    def __hash__(self) -> int:
        return hash((str(self), self.salt))


def address(number: int, salt: int = 0, groups: int = 50_000, port: int = 8333) -> PeerAddress:
    """The address of that number, spread over so many netgroups: of each ten one of IPv6 and one that is a name."""
    group, member = number % groups, number // groups % 250 + 1
    if number % 10 == 8:
        host = f"2001:{0x1000 + group:x}::{member:x}"
    elif number % 10 == 9:
        return PeerAddress(SaltedHost.of(f"peer{number:048d}.onion", salt), port, "onion")
    else:
        host = f"{11 + group // 250}.{group % 250}.{number // 7 % 250}.{member}"
    return PeerAddress(SaltedHost.of(host, salt), port)


def candidate(number: int, rng: Random, salt: int = 0) -> Candidate:
    """An address of the book."""
    where = address(number, salt)
    return Candidate(where, netgroup(where), tried=rng.random() < 0.5, last_success=rng.choice((0.0, 1.7e9)))


def session(id: int, slot: Slot, at: PeerAddress, opened: float, rng: Random, **changes: Any) -> SessionSnapshot:
    """An open session; `changes` are fields of the snapshot."""
    value = rng.random()
    fields: dict[str, Any] = {
        "state": "open",
        "ping": rng.choice((None, rng.random() * 3)),
        "score": rng.choice((None, value, value)),
        "scores": (Score("weighted", value, (ScorePart("all", value, 1.0),)),),
        "last_item": rng.choice((0.0, opened, opened + rng.random())),
        "last_block": rng.choice((0.0, 0.0, opened + rng.random())),
        "relays": slot is not Slot.BLOCK_RELAY and rng.random() < 0.8,
        "useful": rng.choice((0, 0, 3)),
        "protected": slot is Slot.MANUAL or rng.random() < 0.1,
        "sole_source": rng.random() < 0.05,
        **changes,
    }
    fields.setdefault("best_ping", fields["ping"])
    return SessionSnapshot(
        SessionId(id), "testnet", at, netgroup(at), slot, transport="tcp", started=opened, opened=opened,
        inbound=slot is Slot.INBOUND, messages_in=_MESSAGES, messages_out=_MESSAGES, **fields,
    )  # fmt: skip


def crowd(rng: Random, count: int, now: float, salt: int = 0) -> list[SessionSnapshot]:
    """Sessions of every class and state, some with little known of them, some at one address or of one netgroup."""
    found = []
    for id in range(1, count + 1):
        slot = rng.choice(tuple(Slot))
        number = rng.choice((id, rng.randrange(20), rng.randrange(10**6)))
        state = rng.choice(STATES)
        opened = max(0.0, now - rng.choice((0.0, 1.0, 30.0, 3600.0, 1e6))) if state == "open" else 0.0
        found.append(
            session(
                id, slot, address(number, salt, port=rng.randrange(1, 65536)), opened, rng, state=state,
                score=rng.choice((None, 0.0, 1.0, rng.random())), protected=rng.random() < 0.2,
            )
        )  # fmt: skip
    return found
