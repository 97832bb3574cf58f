"""Captures under way and on disk: bounded in number, in bytes of each and in all, and over when their session is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from p2pframe.capture_file import Record, encode_head, encode_record
from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import Event, IContext, INodeControl, INodeView
from p2pframe.model import SessionId, SessionSnapshot

_NAME = re.compile(r"[a-z0-9-]{1,80}\.p2pcap\Z")
_FLUSH = 1.0
_HELD = 1_000_000
"""Seconds, and bytes, that wait to be written."""
_log = Logger(namespace="p2pframe.admin")


class CaptureRefused(P2PFrameError):
    """A capture that is not begun; the text says why."""


class Capture:
    """One that is under way. `ended` says why it is over, empty until then."""

    def __init__(self, path: Path, began: float, end: Callable[[str], None]) -> None:
        self.path = path
        self.began = began
        self.size = 0
        self.end = end
        self.held: list[bytes] = []
        self.held_size = 0
        self.timer: IDelayedCall | None = None
        self.limit: IDelayedCall | None = None
        self.untap: Callable[[], None] = lambda: None


class Captures:
    """The captures of a node, in a folder of the admin's own.

    `bounds` gives how many there are at once, the bytes of each, the bytes of all, and how many files.
    """

    def __init__(
        self,
        context: IContext,
        view: INodeView,
        control: INodeControl,
        folder: Path,
        bounds: Callable[[], tuple[int, int, int, int]],
    ) -> None:
        self._context = context
        self._view = view
        self._control = control
        self._folder = folder
        self._bounds = bounds
        self._open: dict[tuple[str, SessionId], Capture] = {}
        self._number = 0
        self._total = 0
        """Bytes of all captures, looked up when one begins and counted from there."""
        self._unsubscribe: Callable[[], None] | None = None

    def begin(self, session: SessionSnapshot, protocol: str, seconds: float) -> str:
        """Write down what a session says and is told, for so long; the name of the file. Raises `CaptureRefused`."""
        key = session.network, session.id
        most, _, quota, files = self._bounds()
        if key in self._open:
            raise CaptureRefused("this session is captured already")
        if len(self._open) >= most:
            raise CaptureRefused(f"{most} sessions are captured already: end one first")
        there = self.list()
        self._total = sum(size for _, size, _ in there) + sum(one.held_size for one in self._open.values())
        if self._total >= quota:
            raise CaptureRefused(f"captures fill the {quota} bytes that they may have: delete some first")
        if len({name for name, _, _ in there} | {one.path.name for one in self._open.values()}) >= files:
            raise CaptureRefused(f"there are {files} captures already: delete some first")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        began = self._context.unix_time()
        self._number += 1
        label = re.sub(r"[^a-z0-9]+", "-", session.network.lower())[:30]
        name = f"{int(began)}-{self._number}-{label}-{session.id}.p2pcap"
        clock = self._context.reactor
        start = clock.seconds()
        capture = Capture(self._folder / name, began, lambda why: self._end(key, why))
        head: dict[str, str | float] = {
            "network": session.network, "address": str(session.address), "transport": session.transport,
            "protocol": protocol, "agent": session.agent, "began": began,
            "slot": session.slot.value, "heard": sum(session.messages_in.values()),
        }  # fmt: skip

        def heard(way: str, data: bytes) -> None:
            self._take(capture, encode_record(Record(clock.seconds() - start, way, data)))

        untap = self._control.tap(session.network, session.id, heard)
        if untap is None:
            raise CaptureRefused("the session has ended")
        capture.untap = untap
        self._open[key] = capture
        if self._unsubscribe is None:
            self._unsubscribe = self._view.subscribe(self._happened)
        capture.limit = clock.callLater(seconds, self._end, key, "its time is over")
        self._take(capture, encode_head(head))
        return name

    def stop(self, network: str, session: SessionId) -> bool:
        """End a capture; False where there is none."""
        if (network, session) not in self._open:
            return False
        self._end((network, session), "asked to")
        return True

    def stop_all(self) -> None:
        """End them all."""
        for key in list(self._open):
            self._end(key, "the node stops")

    def total(self) -> int:
        """Bytes of all captures."""
        return sum(size for _, size, _ in self.list())

    def list(self) -> list[tuple[str, int, bool]]:
        """Name, size, and whether it is under way; the latest last."""
        under_way = {one.path.name: one for one in self._open.values()}
        if not self._folder.is_dir():
            return []
        return [
            (path.name, path.stat().st_size, path.name in under_way)
            for path in sorted(self._folder.glob("*.p2pcap"))
            if _NAME.match(path.name)
        ]

    def path(self, name: str) -> Path | None:
        """Where one of that name is; None where there is none."""
        return self._folder / name if name in [one for one, _, _ in self.list()] else None

    def delete(self, name: str) -> bool:
        """Forget one; False where there is none, or it is under way."""
        path = self.path(name)
        if path is None or any(one.path == path for one in self._open.values()):
            return False
        self._total -= path.stat().st_size
        path.unlink(missing_ok=True)
        return True

    def _happened(self, event: Event) -> None:
        if event.kind == "session.closed" and event.session is not None:
            self._end((event.network, event.session), "the session has ended")

    def _take(self, capture: Capture, data: bytes) -> None:
        _, largest, quota, _ = self._bounds()
        if capture.size + len(data) > largest or self._total + len(data) > quota:
            capture.end("it is as large as it may be")
            return
        capture.size += len(data)
        self._total += len(data)
        capture.held.append(data)
        capture.held_size += len(data)
        if capture.held_size >= _HELD:
            self._write(capture)
        elif capture.timer is None:
            capture.timer = self._context.reactor.callLater(_FLUSH, self._write, capture)

    def _write(self, capture: Capture) -> None:
        if capture.timer is not None and capture.timer.active():
            capture.timer.cancel()
        capture.timer = None
        data, capture.held, capture.held_size = b"".join(capture.held), [], 0
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(capture.path, flags, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
            finally:
                os.close(descriptor)
        except OSError as error:
            capture.end(f"it can't be written: {error.strerror}")

    def _end(self, key: tuple[str, SessionId], why: str) -> None:
        capture = self._open.pop(key, None)
        if capture is None:
            return
        capture.untap()
        if capture.limit is not None and capture.limit.active():
            capture.limit.cancel()
        if capture.held:
            self._write(capture)
        if not self._open and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        _log.info("the capture {name} is over: {why}", name=capture.path.name, why=why)
