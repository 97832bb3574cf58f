"""A captured conversation: what its file says, and the peer that says its part of it again."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from p2pframe.capture_file import CaptureError, Record, Records, read
from p2pframe.model import PeerAddress, Slot

Pace = Literal["real", "as-fast"]

_DONE = Failure(ConnectionDone())
_LATEST = 2.0**40
"""Unix seconds that no capture began after."""


@dataclass(frozen=True, slots=True)
class Captured:
    """What a capture is of, and how much there is of it.

    `began` is unix seconds: when its first part began. `heard` are the messages that the peer had sent before the
    first of these files: of a capture that began later than its session there are some. `part` is that file's number.
    `files` are the files, each with how many whole records it has, and how many bytes at its end are none. `said` and
    `answered` are the bytes of the peer and of the node. `first` is 0, or where the first file is not the first part
    the seconds from `began` to its first record; `seconds` those from there to the last record.
    """

    network: str
    address: PeerAddress
    transport: str
    protocol: str
    agent: str
    began: float
    slot: Slot
    heard: int
    part: int
    files: tuple[tuple[Path, int, int], ...]
    said: int
    answered: int
    first: float
    seconds: float

    @property
    def late(self) -> bool:
        """Whether there was something before it."""
        return self.heard > 0 or self.part > 1

    @property
    def records(self) -> int:
        """All of them that are whole."""
        return sum(count for _, count, _ in self.files)


def survey(paths: Sequence[Path], longest: float) -> Captured:
    """Read the parts of a capture once, a record at a time. Raises `CaptureError` for what can't be played, OSError."""
    found: Captured | None = None
    for path in paths:
        one = _survey(path, longest, found.first if found is not None else None)
        if found is None:
            found = one
            continue
        for name in ("network", "address", "transport", "protocol", "began", "slot"):
            if getattr(one, name) != getattr(found, name):
                raise CaptureError(f"{path}: this is another capture than {paths[0]}: its {name} is not the same")
        if one.part != found.part + len(found.files):
            following = found.part + len(found.files)
            raise CaptureError(
                f"{path}: this is part {one.part}, and part {following} comes next: give all parts, in order"
            )
        found = replace(
            found,
            files=found.files + one.files,
            said=found.said + one.said,
            answered=found.answered + one.answered,
            seconds=max(found.seconds, one.seconds),
        )
    if found is None:
        raise CaptureError("there is no capture to play")
    return found


def _survey(path: Path, longest: float, first: float | None) -> Captured:
    with opened(path) as (head, records):
        network, address = _text(head, "network"), _address(_text(head, "address"))
        transport, protocol, agent = _text(head, "transport"), _text(head, "protocol"), _text(head, "agent")
        began, slot, heard = _number(head, "began"), _slot(_text(head, "slot")), int(_number(head, "heard"))
        part = int(_number(head, "part")) if "part" in head else 1
        sizes = {"in": 0, "out": 0}
        count, seconds = 0, 0.0
        for record in records:
            count += 1
            sizes[record.way] += len(record.data)
            if first is None:
                # The hours before a part are not waited for.
                first = record.seconds if part > 1 else 0.0
            seconds = max(seconds, record.seconds - first)
            if seconds > longest or record.seconds > _LATEST:
                raise CaptureError(
                    f"{path}: record {count} is {seconds:g} s after the beginning, and {longest:g} s is the longest"
                )
        return Captured(
            network, address, transport, protocol, agent, began, slot, heard, part, ((path, count, records.cut),),
            sizes["in"], sizes["out"], first or 0.0, seconds,
        )  # fmt: skip


def said_again(captured: Captured) -> Generator[Record, None, None]:
    """The records that the survey has seen, and none that have been written since; times from the first on.

    Raises `CaptureError` and OSError.
    """
    for path, count, _ in captured.files:
        with opened(path) as (_, records):
            for record in islice(records, count):
                yield record._replace(seconds=record.seconds - captured.first)


@contextmanager
def opened(path: Path) -> Iterator[tuple[dict[str, object], Records]]:
    """The head and the records of a file. What `CaptureError` says names the file. Raises OSError too."""
    # Not to wait for whoever may write to a pipe of that name.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CaptureError(f"{path}: this is no plain file")
        try:
            yield read(cast(BinaryIO, file))
        except CaptureError as error:
            raise CaptureError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def _text(head: Mapping[str, object], key: str) -> str:
    value = head.get(key)
    if not isinstance(value, str):
        raise CaptureError(f"the head of the capture does not say {key!r}")
    return value


def _number(head: Mapping[str, object], key: str) -> float:
    value = head.get(key)
    # Written so that what is no number (NaN) is outside too.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _LATEST:
        raise CaptureError(f"the head of the capture does not say {key!r}, or what can't be")
    return value


def _slot(text: str) -> Slot:
    try:
        return Slot(text)
    except ValueError:
        raise CaptureError(f"there is no slot {text!r}") from None


def _address(text: str) -> PeerAddress:
    try:
        address = PeerAddress.parse(text)
    except ValueError as error:
        raise CaptureError(f"the peer's address: {error}") from None
    ip = address.ip
    if ip is None or ip.is_unspecified or ip.is_multicast or not address.port:
        raise CaptureError(f"the peer's address {text!r} is none that a simulated host can have")
    return address


@implementer(IPushProducer)
class CapturedPeer(Protocol):
    """Says the `in` records of a capture to a node, and counts what it hears.

    What the peer said may have been an answer. So a record waits, for at most `patience` seconds after its time, until
    the node has said as many bytes since the record before as it did then. At pace `as-fast` that is all that it waits
    for; at pace `real` it also waits for its time.
    """

    def __init__(self, records: Iterator[Record], clock: IReactorTime, pace: Pace, patience: float) -> None:
        self._records = records
        self._clock = clock
        self._pace = pace
        self._patience = patience
        self._next: Record | None = None
        self._due = 0.0
        self._timer: IDelayedCall | None = None
        self._expected = 0
        self._debt = 0
        """Bytes that the node did not say in time, and is not waited for any more."""
        self._paused = False
        self._stepping = False
        self.began: float | None = None
        """When it began to speak."""
        self.ended: float | None = None
        """When there was nothing more to say, or nobody to say it to."""
        self.played = 0
        self.said = 0
        self.heard = 0
        self.impatient = 0
        """Records that were sent before the node had said as much."""
        self.lost = False
        """Whether the connection is gone."""
        self.error: CaptureError | OSError | None = None

    def connectionMade(self) -> None:
        """Begin."""
        wire: Any = self.transport
        wire.registerProducer(self, True)
        self.began = self._clock.seconds()
        self._advance()
        self._step()

    def dataReceived(self, data: bytes) -> None:
        """What the node says is counted."""
        self.heard += len(data)
        self._step()

    def connectionLost(self, reason: Failure = _DONE) -> None:
        """There is nobody to talk to any more."""
        self.lost = True
        self._end()

    def pauseProducing(self) -> None:
        """The node does not read."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It reads again."""
        self._paused = False
        self._step()

    def stopProducing(self) -> None:
        """See IPushProducer; `connectionLost` says so too."""
        self.connectionLost()

    def _end(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._next = None
        if self.ended is None:
            self.ended = self._clock.seconds()

    def _advance(self) -> None:
        """Find what to say next, and when."""
        assert self.began is not None
        self._next = None
        try:
            for record in self._records:
                if record.way == "in":
                    self._next = record
                    break
                self.played += 1
                self._expected += len(record.data)
        except (CaptureError, OSError) as error:
            self.error = error
        now = self._clock.seconds()
        if self._next is None:
            self._end()
        else:
            self._due = now if self._pace == "as-fast" else max(now, self.began + self._next.seconds)

    def _step(self) -> None:
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._next is not None and not self._paused and self._ripe():
                record = self._next
                self.played += 1
                self.said += len(record.data)
                assert self.transport is not None
                self.transport.write(record.data)
                if self.ended is None:
                    self._advance()
        finally:
            self._stepping = False

    def _ripe(self) -> bool:
        now = self._clock.seconds()
        if now < self._due:
            self._look_at(self._due)
            return False
        missing = self._expected - self._debt - self.heard
        if missing > 0:
            if now < self._due + self._patience:
                self._look_at(self._due + self._patience)
                return False
            self._debt += missing
            self.impatient += 1
        return True

    def _look_at(self, time: float) -> None:
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= time:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(max(0.0, time - self._clock.seconds()), self._looked)

    def _looked(self) -> None:
        self._timer = None
        self._step()
