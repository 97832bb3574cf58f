"""Captures under way and on disk: bounded in number, in bytes of each and in all, and over when their session is.

A capture whose file is as large as it may be goes on in a next one, `...-2.p2pcap`, and its oldest files make room.
What is to be written waits in memory, a bounded amount, for a thread: the wire never waits for the disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2pframe.capture_file import Record, encode_head, encode_record
from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import Event, IContext, INodeControl, INodeView
from p2pframe.model import SessionId, SessionSnapshot

_NAME = re.compile(r"[a-z0-9-]{1,80}\.p2pcap\Z")
_FLUSH = 1.0
_HELD = 1_000_000
"""Seconds, and bytes, that wait to be written."""
_MOST_HELD = 8 * _HELD
"""Bytes that may wait where the disk is slow; then the capture ends."""
_AGENT = 256
"""Characters of a peer's own words in a head: it is smaller than the smallest file."""
_log = Logger(namespace="p2pframe.admin")


class CaptureRefused(P2PFrameError):
    """A capture that is not begun; the text says why."""


class CaptureBounds(NamedTuple):
    """How many captures at once; bytes of a file; bytes, and files, of all; and files of one capture."""

    sessions: int
    largest: int
    quota: int
    files: int
    parts: int


class CaptureFile(NamedTuple):
    """One on disk; of one that is being written, `session` is the network and the session. `began` is unix seconds."""

    name: str
    size: int
    running: bool
    began: float
    session: tuple[str, SessionId] | None


class Capture:
    """One that is under way: the file that is written, and those that are full."""

    def __init__(self, session: SessionSnapshot, stem: str, head: dict[str, str | float], start: float) -> None:
        self.key = session.network, session.id
        self.stem = stem
        self.head = head
        self.start = start
        self.part = 1
        self.path = Path()
        self.size = 0
        self.head_size = 0
        self.heard = 0
        self.full: list[tuple[Path, int]] = []
        self.jobs: list[tuple[Path, bytes | None]] = []
        """What to append to which file, None to remove it: in this order."""
        self.waiting = 0
        """Bytes of them, and of those that are being done."""
        self.writing = False
        self.over = False
        self.timer: IDelayedCall | None = None
        self.limit: IDelayedCall | None = None
        self.untap: Callable[[], None] = lambda: None


class Captures:
    """The captures of a node, in a folder of the admin's own. `turned_away` counts what a bound refused, by its key."""

    def __init__(
        self,
        context: IContext,
        view: INodeView,
        control: INodeControl,
        folder: Path,
        bounds: Callable[[], CaptureBounds],
        turned_away: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._context = context
        self._view = view
        self._control = control
        self._folder = folder
        self._bounds = bounds
        self._turned_away = turned_away
        self._open: dict[tuple[str, SessionId], Capture] = {}
        self._writing = 0
        """Captures of which a thread writes something."""
        self._written: Deferred[None] | None = None
        self._number = 0
        self._total = 0
        self._files = 0
        """Bytes and files of all captures, looked up when one begins and counted from there."""
        self._unsubscribe: Callable[[], None] | None = None

    def begin(self, session: SessionSnapshot, protocol: str, seconds: float) -> str:
        """Write down what a session says and is told, for so long; the name of the first file.

        Raises `CaptureRefused`.
        """
        key = session.network, session.id
        bounds = self._bounds()
        if key in self._open:
            raise CaptureRefused("this session is captured already")
        if len(self._open) >= bounds.sessions:
            self._refuse("captures", f"{bounds.sessions} sessions are captured already: end one first")
        there = self.list()
        self._total = sum(one.size for one in there) + sum(one.waiting for one in self._open.values())
        self._files = len({one.name for one in there} | {one.path.name for one in self._open.values()})
        if self._total >= bounds.quota:
            self._refuse("capture_quota", f"captures fill the {bounds.quota} bytes that they may have: "
                                          "delete some first")  # fmt: skip
        if self._files >= bounds.files:
            self._refuse("capture_files", f"there are {bounds.files} captures already: delete some first")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        began = self._context.unix_time()
        self._number += 1
        label = re.sub(r"[^a-z0-9]+", "-", session.network.lower())[:30]
        clock = self._context.reactor
        head: dict[str, str | float] = {
            "network": session.network, "address": str(session.address), "transport": session.transport,
            "protocol": protocol, "agent": session.agent[:_AGENT], "began": began,
            "slot": session.slot.value, "heard": sum(session.messages_in.values()),
        }  # fmt: skip
        capture = Capture(session, f"{int(began)}-{self._number}-{label}-{session.id}", head, clock.seconds())
        untap = self._control.tap(*key, lambda way, data: self._heard(capture, way, data))
        if untap is None:
            raise CaptureRefused("the session has ended")
        capture.untap = untap
        self._open[key] = capture
        if self._unsubscribe is None:
            self._unsubscribe = self._view.subscribe(self._happened)
        capture.limit = clock.callLater(seconds, self._end, capture, "its time is over")
        self._begin_file(capture)
        return capture.path.name

    def _refuse(self, key: str, why: str) -> None:
        self._turned_away(key)
        raise CaptureRefused(why)

    @property
    def under_way(self) -> int:
        """How many sessions are captured."""
        return len(self._open)

    def stop(self, network: str, session: SessionId) -> bool:
        """End a capture; False where there is none."""
        capture = self._open.get((network, session))
        if capture is None:
            return False
        self._end(capture, "asked to")
        return True

    def stop_all(self) -> Deferred[None]:
        """End them all; fires when what was to be written is written."""
        for capture in list(self._open.values()):
            self._end(capture, "the node stops")
        if not self._writing:
            return succeed(None)
        self._written = Deferred()
        return self._written

    def total(self) -> int:
        """Bytes of all captures."""
        return sum(one.size for one in self.list())

    def list(self) -> Sequence[CaptureFile]:
        """Those on disk, the latest last."""
        under_way = {one.path.name: one.key for one in self._open.values()}
        found = []
        for path in self._folder.glob("*.p2pcap") if self._folder.is_dir() else ():
            if _NAME.match(path.name) and path.is_file():
                try:
                    size = path.stat().st_size
                except FileNotFoundError:
                    continue  # a thread has just removed it: a capture made room for what it goes on with
                key = under_way.get(path.name)
                began = path.name.partition("-")[0]
                time = float(began) if began.isdigit() else 0.0
                found.append(CaptureFile(path.name, size, key is not None, time, key))
        return sorted(found, key=_order)

    def path(self, name: str) -> Path | None:
        """Where one of that name is; None where there is none."""
        return self._folder / name if name in [one.name for one in self.list()] else None

    def delete(self, name: str) -> bool:
        """Forget one; False where there is none, or it is being written."""
        path = self.path(name)
        if path is None or any(one.path == path for one in self._open.values()):
            return False
        for one in self._open.values():
            one.full = [(each, size) for each, size in one.full if each != path]
        self._total -= path.stat().st_size
        self._files -= 1
        path.unlink(missing_ok=True)
        return True

    def _happened(self, event: Event) -> None:
        if event.kind == "session.closed" and event.session is not None:
            capture = self._open.get((event.network, event.session))
            if capture is not None:
                self._end(capture, "the session has ended")

    # --- what is written where ---

    def _heard(self, capture: Capture, way: str, data: bytes) -> None:
        seconds = self._context.reactor.seconds() - capture.start
        # A read may be larger than a file: it is parted then, and the bytes are the same.
        room = self._bounds().largest // 2
        for at in range(0, len(data), room):
            self._take(capture, encode_record(Record(seconds, way, data[at : at + room])))
        capture.heard += way == "in"

    def _begin_file(self, capture: Capture) -> None:
        name = f"{capture.stem}.p2pcap" if capture.part == 1 else f"{capture.stem}-{capture.part}.p2pcap"
        capture.path = self._folder / name
        capture.size = 0
        self._files += 1
        # Each file can be read by itself; in a later one the peer has been heard before.
        heard = int(capture.head["heard"]) + capture.heard
        head = encode_head({**capture.head, "heard": heard, "part": capture.part})
        capture.head_size = len(head)
        self._add(capture, head)

    def _take(self, capture: Capture, data: bytes) -> None:
        if capture.over:
            return
        bounds = self._bounds()
        if capture.size + len(data) > bounds.largest and capture.size > capture.head_size:
            self._turned_away("capture_largest")
            capture.full.append((capture.path, capture.size))
            # Nothing goes where that would not make room: then the capture ends, with what it has.
            if self._files - len(capture.full) >= bounds.files:
                self._turned_away("capture_files")
                self._end(capture, f"there are {bounds.files} captures")
                return
            while self._files >= bounds.files:
                self._turned_away("capture_files")
                self._drop(capture)
            while len(capture.full) >= bounds.parts:
                self._turned_away("capture_parts")
                self._drop(capture)
            capture.part += 1
            self._begin_file(capture)
        if self._total - sum(size for _, size in capture.full) + len(data) > bounds.quota:
            self._turned_away("capture_quota")
            self._end(capture, f"captures fill the {bounds.quota} bytes that they may have")
            return
        while self._total + len(data) > bounds.quota:
            self._turned_away("capture_quota")
            self._drop(capture)
        self._add(capture, data)

    def _drop(self, capture: Capture) -> None:
        """The oldest full file goes."""
        path, size = capture.full.pop(0)
        self._total -= size
        self._files -= 1
        capture.jobs.append((path, None))
        _log.info("{name} made room for what its capture goes on with", name=path.name)

    def _add(self, capture: Capture, data: bytes) -> None:
        capture.size += len(data)
        self._total += len(data)
        capture.jobs.append((capture.path, data))
        capture.waiting += len(data)
        if capture.waiting > _MOST_HELD:
            self._end(capture, "the disk is too slow for it")
        elif capture.waiting >= _HELD:
            self._write(capture)
        elif capture.timer is None:
            capture.timer = self._context.reactor.callLater(_FLUSH, self._write, capture)

    def _write(self, capture: Capture) -> None:
        """Have done what is to be done, one thread at a time: in order."""
        if capture.timer is not None and capture.timer.active():
            capture.timer.cancel()
        capture.timer = None
        if capture.writing or not capture.jobs:
            return
        jobs, capture.jobs = capture.jobs, []
        size = sum(len(data) for _, data in jobs if data is not None)
        capture.writing = True
        self._writing += 1

        def finished(result: object) -> None:
            capture.writing = False
            self._writing -= 1
            capture.waiting -= size
            if isinstance(result, Failure):
                capture.jobs = []
                why = result.value.strerror if isinstance(result.value, OSError) else result.getErrorMessage()
                self._end(capture, f"it can't be written: {why}")
            elif capture.jobs and (capture.over or capture.waiting >= _HELD):
                self._write(capture)
            elif capture.jobs and capture.timer is None:
                capture.timer = self._context.reactor.callLater(_FLUSH, self._write, capture)
            if not self._writing and self._written is not None:
                written, self._written = self._written, None
                written.callback(None)

        self._context.work(_do, jobs).addBoth(finished)

    def _end(self, capture: Capture, why: str) -> None:
        if capture.over:
            return
        capture.over = True
        del self._open[capture.key]
        capture.untap()
        if capture.limit is not None and capture.limit.active():
            capture.limit.cancel()
        self._write(capture)
        if not self._open and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        _log.info("the capture {name} is over: {why}", name=capture.path.name, why=why)


def _order(one: CaptureFile) -> list[tuple[int, int, str]]:
    """The numbers in a name as numbers: the tenth file of a capture comes after its second."""
    parts = one.name.removesuffix(".p2pcap").split("-")
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _do(jobs: Sequence[tuple[Path, bytes | None]]) -> None:
    """In a thread: append to files that nobody else may read, or remove them."""
    at = 0
    while at < len(jobs):
        path, data = jobs[at]
        at += 1
        if data is None:
            path.unlink(missing_ok=True)
            continue
        parts = [data]
        while at < len(jobs) and jobs[at][0] == path and (more := jobs[at][1]) is not None:
            parts.append(more)
            at += 1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            view = memoryview(b"".join(parts))
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)
