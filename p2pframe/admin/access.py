"""Who may do what: sessions of people, tokens of scripts, two roles, and how often one may try. No I/O.

Only hashes of cookies and tokens are kept, so that what is in memory, or in a log by mistake, opens nothing.
"""

from __future__ import annotations

import enum
import hmac
import math
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from p2pframe.admin.codes import Codes
from p2pframe.interfaces import Entropy


class Role(enum.IntEnum):
    """What somebody may do; each may what those before it may."""

    VIEWER = 1
    OPERATOR = 2


class Rates(NamedTuple):
    """How often one log-in may ask: so many times a second in the long run, and `burst` times at once."""

    per_second: float = 20.0
    burst: float = 200.0


class Bucket:
    """What one log-in may still ask for. Full at first; times are seconds of one clock."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = math.inf
        self._at = 0.0

    def take(self, rates: Rates, now: float) -> float:
        """Take one: 0.0, or in how many seconds there is one to be had. A refusal costs nothing."""
        # A clock that was set back gives nothing, and takes nothing either.
        self._left = min(rates.burst, self._left + max(0.0, now - self._at) * rates.per_second)
        self._at = now
        # The rounding of a sum of fractions keeps nobody waiting.
        if self._left < 1 - 1e-9:
            return (1 - self._left) / rates.per_second
        self._left -= 1
        return 0.0


@dataclass(slots=True)
class Session:
    """One log-in of a person; times are unix seconds. `csrf` goes with each change that is asked for."""

    role: Role
    csrf: str
    began: float
    used: float
    asked: Bucket = field(default_factory=Bucket)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many sessions there are, how long they last idle and in all (seconds), and how often one may try.

    `tries` log-ins at once, and one more every `pause` seconds: of one address, and ten times as many of all together.
    """

    sessions: int = 100
    idle: float = 12 * 3600.0
    life: float = 7 * 86_400.0
    tries: int = 10
    pause: float = 6.0
    sources: int = 1000


class Refused(Exception):
    """A log-in that is refused; `retry` in so many seconds where that is because of too many tries."""

    def __init__(self, reason: str, retry: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry = retry


class Access:
    """Sessions and tokens. `tokens` maps names to a role and the token."""

    def __init__(
        self, codes: Codes, entropy: Entropy, limits: Limits, tokens: Mapping[str, tuple[Role, str]] | None = None
    ) -> None:
        self.limits = limits
        self._codes = codes
        self._entropy = entropy
        self._sessions: dict[bytes, Session] = {}
        self._tokens = {_hash(token): (name, role) for name, (role, token) in (tokens or {}).items()}
        self._asked = {name: Bucket() for name, _ in self._tokens.values()}
        """By the name of a token: as many as there are of them."""
        self.rates: Callable[[], Rates] = Rates
        self._tries: dict[str, float] = {}
        """By source: when all its tries will be there again."""
        self._all = 0.0
        self.turned_away: Callable[[str], None] = lambda bound: None
        """Called with the name of a bound that somebody met."""

    def log_in(self, code: str, source: str, now: float) -> tuple[str, Session]:
        """A cookie and its session for a code. Raises `Refused`."""
        reason = self._codes.take(code, now)
        if reason is not None:
            # Only who guesses is counted: else whoever reaches the port could keep the operator out.
            self._count_try(source, now)
            raise Refused(reason)
        self._tries.pop(source, None)
        return self._begin(Role[(self._codes.role_of(code) or "viewer").upper()], now)

    def try_password(self, source: str, now: float) -> None:
        """Somebody is about to have a password checked, which takes time: it is counted before that. Raises `Refused`.

        So whoever guesses can keep passwords from being taken for a while; a code gets in then too.
        """
        self._count_try(source, now)

    def password_was_right(self, source: str, now: float) -> tuple[str, Session]:
        """A cookie and its session, of an operator; that try does not count."""
        if self._tries.pop(source, None) is not None:
            self._all -= self.limits.pause / 10
        return self._begin(Role.OPERATOR, now)

    def _begin(self, role: Role, now: float) -> tuple[str, Session]:
        self._expire(now)
        while len(self._sessions) >= self.limits.sessions:
            self.turned_away("sessions")
            del self._sessions[min(self._sessions, key=lambda one: self._sessions[one].used)]
        cookie, csrf = self._secret(), self._secret()
        session = self._sessions[_hash(cookie)] = Session(role, csrf, now, now)
        return cookie, session

    def session(self, cookie: str, now: float) -> Session | None:
        """Whose cookie that is; it counts as used."""
        session = self._sessions.get(_hash(cookie))
        if session is None or not self._alive(session, now):
            return None
        session.used = now
        return session

    def holds(self, session: Session, now: float) -> bool:
        """Whether a session that was given is still one; that is no use of it."""
        return self._alive(session, now) and any(one is session for one in self._sessions.values())

    def end(self, session: Session) -> None:
        """Its cookie is good for nothing any more."""
        self._sessions = {one: other for one, other in self._sessions.items() if other is not session}

    def token(self, token: str) -> tuple[str, Role] | None:
        """The name and role of a token. Looked up by its hash: how long that takes says nothing of any token."""
        return self._tokens.get(_hash(token))

    def wrong_token(self, source: str, now: float) -> None:
        """Somebody sent a token that is none. Raises `Refused` where that was tried too often; a right one is asked for
        first, and goes on being good.
        """
        self._count_try(source, now)

    def ask(self, who: Session | str, now: float) -> float:
        """One request of a session, or of the token of a name: 0.0, or in how many seconds it may be asked again.

        `now` is of a clock of its own, which need not be that of the sessions.
        """
        bucket = who.asked if isinstance(who, Session) else self._asked[who]
        wait = bucket.take(self.rates(), now)
        if wait:
            self.turned_away("requests")
        return wait

    @property
    def open_sessions(self) -> int:
        """How many are logged in."""
        return len(self._sessions)

    def _count_try(self, source: str, now: float) -> None:
        limits = self.limits
        window = limits.tries * limits.pause
        self._all = max(self._all, now) + limits.pause / 10
        if source not in self._tries and len(self._tries) >= limits.sources:
            self._tries = {one: until for one, until in self._tries.items() if until > now}
        full = source not in self._tries and len(self._tries) >= limits.sources
        until = max(self._tries.get(source, now), now) + limits.pause
        if not full:
            self._tries[source] = min(until, now + 2 * window)
        if until > now + window or self._all > now + window or full:
            self._all = min(self._all, now + 2 * window)
            # The next one costs as well, and has to fit.
            until = min(until, now + 2 * window)
            self.turned_away("tries")
            raise Refused("too many tries", max(until + limits.pause, self._all + limits.pause / 10) - now - window)

    def _expire(self, now: float) -> None:
        self._sessions = {one: session for one, session in self._sessions.items() if self._alive(session, now)}

    def _alive(self, session: Session, now: float) -> bool:
        limits = self.limits
        return now - session.used <= limits.idle and now - session.began <= limits.life

    def _secret(self) -> str:
        return urlsafe_b64encode(self._entropy.bytes(32)).decode().rstrip("=")


def same(one: str, other: str) -> bool:
    """Whether two secrets are the same, in a time that says nothing."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _hash(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "replace")).digest()
