"""A discovery in one file: peers from a text file that something else keeps up to date.

A worked example of `IDiscovery`.

    networks:
      bitcoin:
        discovery: [{plugin: peer-file, path: ./peers.txt, interval: 5min}]

One address a line, `host:port` or `[v6-address]:port`; `#` begins a comment. Core asks `due` about once a second; when
it says yes, core calls `find` and takes what it gives into the address book. The plugin opens no connection and keeps
no list of its own.

What makes it a good citizen: the file is read off the reactor's thread (`context.work`), of a file that grows without
end only a bounded part is looked at, a bad line costs that line alone and is counted, and one log line says how many
there were.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from p2pframe.interfaces import DiscoveryState, IContext, IDiscovery, IReconfigurable
from p2pframe.model import FoundAddress, PeerAddress
from p2pframe.plugin import Duration, Field, PluginConfig, Size, live, plugin


class PeerFileConfig(PluginConfig):
    """Options of the `peer-file` discovery."""

    path: Path = Field(description="The file; relative to the config file.")
    port: int | None = live(
        None, ge=1, le=65535, description="Port of lines that name none; unset: the protocol's own."
    )
    interval: Duration = live(300.0, ge=1.0, description="How often the file is read.")
    largest: Size = live(1_000_000, ge=1, description="Bytes of the file that are looked at; the rest is counted.")


class Parsed(NamedTuple):
    """What a file said: addresses in its order without repeats, lines that were none, bytes that were not looked at."""

    addresses: list[PeerAddress]
    bad_lines: int
    unread: int


@plugin("peer-file", config=PeerFileConfig)
@implementer(IDiscovery, IReconfigurable)
class PeerFileDiscovery:
    """Takes peers from a text file, one address a line."""

    name = "peer-file"
    manual = False

    def __init__(self, config: PeerFileConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self._left = context.metrics.counter("peer_file_left_total", "Of the file, what was not taken.", ["what"])

    def due(self, state: DiscoveryState) -> bool:
        """At the start, and then every `interval`."""
        return state.last_run is None or state.last_run >= self.config.interval

    def find(self, limit: int) -> Deferred[Sequence[FoundAddress]]:
        """Read the file. Fails with OSError where it can't be read: core logs that and tries again later."""
        reading = self.context.work(read_peers, self.config.path, self.config.port or 0, self.config.largest)
        return reading.addCallback(self._take, limit)

    def announce(self, addresses: Sequence[PeerAddress]) -> Deferred[None]:
        """A file that others write finds nobody for us."""
        return succeed(None)

    def withdraw(self) -> Deferred[None]:
        """Nothing was announced."""
        return succeed(None)

    def reconfigure(self, config: object) -> None:
        """Called with new live options; the path stays, as another one means a restart."""
        self.config = cast(PeerFileConfig, config)

    def _take(self, parsed: Parsed, limit: int) -> Sequence[FoundAddress]:
        addresses = list(parsed.addresses)
        # Which ones are taken of too many is drawn, by the chance that the simulator can repeat.
        self.context.rng.shuffle(addresses)
        taken = addresses[:limit]
        for what, count in (
            ("bad lines", parsed.bad_lines), ("bytes", parsed.unread), ("addresses", len(addresses) - len(taken)),
        ):  # fmt: skip
            if count:
                self._left.add(count, what)
                self.context.log.warn(
                    "{path}: {count} {what} left out", path=str(self.config.path), count=count, what=what
                )
        return [FoundAddress(address) for address in taken]


def read_peers(path: Path, port: int, largest: int) -> Parsed:
    """Runs on a worker's thread: touches nothing but its arguments."""
    with path.open("rb") as file:
        data = file.read(largest)
        unread = max(0, path.stat().st_size - len(data))
    if unread:
        # The last line may have been cut: half an address is another address.
        data = data[: data.rfind(b"\n") + 1]
    addresses: dict[PeerAddress, None] = {}
    bad_lines = 0
    for line in data.splitlines():
        text = line.split(b"#", 1)[0].strip()
        if not text:
            continue
        try:
            addresses[PeerAddress.parse(text.decode("ascii"), default_port=port)] = None
        except ValueError:
            bad_lines += 1
    return Parsed(list(addresses), bad_lines, unread)
