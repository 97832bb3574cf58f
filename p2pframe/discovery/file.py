"""Peers from a file that something else writes: read when it changes.

    networks:
      bitcoin:
        discovery: [{plugin: file, path: ./peers.txt}]

One address a line, `host:port` or `[v6-address]:port`; `#` begins a comment. The file is looked at every `look`, off
the reactor's thread, and read where it is another one than before (its inode, time or size has changed, so that one
that was put in its place counts too). Of a file that grows without end a bounded part is read; a bad line costs that
line alone, and the first of them is named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import DiscoveryState, IContext, IDiscovery, IReconfigurable
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.plugin import Duration, Field, PluginConfig, Size, bound, live, plugin

_SHOWN = 80


class FileConfig(PluginConfig):
    """Options of the `file` discovery."""

    path: Path = Field(description="The file; relative to the config file.")
    port: int | None = live(
        None, ge=1, le=65535, description="Port of lines that name none; unset: the protocol's own."
    )
    look: Duration = live(5.0, ge=0.1, description="How often the file is looked at.")
    again: Duration = live(3600.0, ge=1, description="How often it is read though it has not changed.")
    largest: Size = bound(
        1_000_000,
        ge=1,
        description="Bytes of the file that are read; the rest is counted.",
        counter="file_left",
        label="bytes",
    )


class Stamp(NamedTuple):
    """What tells one state of a file from another."""

    device: int
    inode: int
    changed: int
    size: int


class Listed(NamedTuple):
    """What a file says: addresses in its order without repeats, lines that are none, the first of them, bytes
    unread.
    """

    stamp: Stamp
    addresses: list[PeerAddress]
    bad_lines: int
    first_bad: str
    unread: int


@plugin("file", config=FileConfig)
@implementer(IDiscovery, IReconfigurable)
class FileDiscovery:
    """Takes peers from a text file whenever it changes."""

    name = "file"
    manual = False

    def __init__(self, config: FileConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._stamp: Stamp | None = None
        self._read = 0.0
        self._left = context.metrics.counter("file_left_total", "Of the file of peers, what was not taken.", ["what"])

    def due(self, state: DiscoveryState) -> bool:
        """At the start, and then every `look`."""
        return state.last_run is None or state.last_run >= self.config.look

    def find(self, limit: int) -> Deferred[Sequence[FoundAddress]]:
        """What a changed file says, nothing of one that has not changed. Fails where it can't be read."""
        config, now = self.config, self.context.reactor.seconds()
        known = self._stamp if now - self._read < config.again else None
        reading = self.context.work(look, config.path, config.port or 0, config.largest, known)
        return reading.addCallback(self._take, limit, now)

    def announce(self, addresses: Sequence[PeerAddress]) -> Deferred[None]:
        """A file that others write finds nobody for us."""
        return succeed(None)

    def withdraw(self) -> Deferred[None]:
        """Nothing was announced."""
        return succeed(None)

    def reconfigure(self, config: object) -> None:
        """See `IReconfigurable.reconfigure`; the path stays, as another one means a restart."""
        self.config = cast(FileConfig, config)

    def _take(self, listed: Listed | None, limit: int, now: float) -> Sequence[FoundAddress]:
        if listed is None:
            return []
        self._stamp, self._read = listed.stamp, now
        addresses = listed.addresses
        self.context.rng.shuffle(addresses)
        over = max(0, len(addresses) - limit)
        for what, count in (("bad lines", listed.bad_lines), ("bytes", listed.unread), ("addresses", over)):
            if count:
                self._left.add(count, what)
        if listed.bad_lines or listed.unread or over:
            self.context.log.warn(
                "{path}: left out {bad} lines that are no addresses{first}, {over} addresses over"
                " limits.discovery_addresses, {unread} bytes over `largest`",
                path=str(self.config.path), bad=listed.bad_lines, first=listed.first_bad, over=over,
                unread=listed.unread,
            )  # fmt: skip
        return [FoundAddress(address) for address in addresses[:limit]]


def look(path: Path, port: int, largest: int, known: Stamp | None) -> Listed | None:
    """Runs on a worker's thread: the file, or None where it is as it was. Raises `P2PFrameError` that says why not."""
    try:
        # Without O_NONBLOCK a FIFO that nobody writes to would hold the thread for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise P2PFrameError(f"{path}: not a regular file: write one, one address a line")
            stamp = Stamp(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp == known:
                return None
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(largest)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise P2PFrameError(f"{path}: {error.strerror}: write the file, one address a line") from None
    unread = max(0, stamp.size - len(data))
    if unread:
        # The last line may have been cut: half an address is another address.
        data = data[: data.rfind(b"\n") + 1]
    addresses: dict[PeerAddress, None] = {}
    bad_lines, first_bad = 0, ""
    for number, line in enumerate(data.splitlines(), 1):
        text = line.split(b"#", 1)[0].strip()
        if not text:
            continue
        try:
            addresses[PeerAddress.parse(text.decode("ascii"), default_port=port)] = None
        except ValueError:
            bad_lines += 1
            first_bad = first_bad or f" (line {number}: {text[:_SHOWN]!r})"
    return Listed(stamp, list(addresses), bad_lines, first_bad, unread)
