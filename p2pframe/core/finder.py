"""Runs the discovery plugins: asks each when it is due, bounds what it gives, retries what fails with backoff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from p2pframe.interfaces import DiscoveryState, DiscoveryStatus, IDiscovery
from p2pframe.model import FoundAddress, PeerAddress

if TYPE_CHECKING:
    from p2pframe.core.network import Network

_LONGEST_BACKOFF = 600.0
"""Seconds. A node that was without a line for a night is not without peers for another hour."""


class _Source:
    """One discovery plugin and how it did."""

    __slots__ = (
        "announce_again",
        "announce_error",
        "announce_failures",
        "announcing",
        "failed",
        "failures",
        "last_error",
        "last_run",
        "last_success",
        "looks",
        "name",
        "not_before",
        "plugin",
        "running",
        "total",
        "yielded",
    )  # fmt: skip

    def __init__(self, plugin: IDiscovery, name: str) -> None:
        self.plugin = plugin
        self.name = name
        """Its plugin's name, with a number where several have the same: the source that the address book remembers."""
        self.announce_failures = 0
        self.announce_error = ""
        self.announce_again: IDelayedCall | None = None
        self.running: Deferred[Sequence[FoundAddress]] | None = None
        self.announcing: Deferred[None] | None = None
        self.last_run: float | None = None
        self.not_before = 0.0
        self.failures = 0
        self.last_error = ""
        self.yielded = 0
        self.total = 0
        self.looks = 0
        self.failed = 0
        self.last_success = 0.0


class Finder:
    """The discovery of one network. `step` is called about once a second."""

    def __init__(self, network: Network, plugins: Sequence[IDiscovery]) -> None:
        self.network = network
        self._sources: list[_Source] = []
        for plugin in plugins:
            same = sum(one.plugin.name == plugin.name for one in self._sources)
            self._sources.append(_Source(plugin, f"{plugin.name}#{same + 1}" if same else plugin.name))
        self._bound: Sequence[PeerAddress] = ()
        self._found = network.metrics.counter("discovery_addresses_total", "Addresses found.", ("source", "new"))
        self._left_out = network.metrics.counter(
            "discovery_left_out_total", "Addresses of one look beyond limits.discovery_addresses.", ("source",)
        )
        self._errors = network.metrics.counter("discovery_errors_total", "Looks that failed.", ("source",))

    def step(self, uptime: float, outbound: int, wanted: int) -> None:
        """Ask every plugin that is due."""
        network = self.network
        now = network.clock.seconds()
        for source in self._sources:
            if source.running is not None or now < source.not_before:
                continue
            last = None if source.last_run is None else now - source.last_run
            state = DiscoveryState(uptime, outbound, wanted, network.book.size, last)
            label = f"discovery.{source.name}"
            if network.call_plugin(label, "due", False, source.plugin.due, state):
                self._ask(source, now)

    def announce(self, addresses: Sequence[PeerAddress]) -> None:
        """We listen: have each plugin make us findable."""
        self._bound = addresses
        for source in self._sources:
            self._announce(source)

    async def stop(self) -> None:
        """Cancel what runs, and have each plugin take its announcements back, within `limits.close_timeout`."""
        limit = self.network.limits.close_timeout
        for source in self._sources:
            if source.announce_again is not None and source.announce_again.active():
                source.announce_again.cancel()
            for under_way in (source.running, source.announcing):
                if under_way is not None:
                    under_way.cancel()
            try:
                await maybeDeferred(source.plugin.withdraw).addTimeout(limit, self.network.clock)
            except Exception:  # noqa: BLE001 - one plugin's failure to withdraw must not keep the others from it
                self._failed(source, "withdraw", Failure())

    def status(self) -> dict[str, DiscoveryStatus]:
        """By plugin: how it has done so far."""
        now = self.network.clock.seconds()
        return {
            s.name: DiscoveryStatus(
                s.total,
                s.yielded,
                s.failures + s.announce_failures,
                s.last_error or s.announce_error,
                max(0.0, s.not_before - now),
                s.last_success,
                s.looks,
                s.failed,
            )
            for s in self._sources
        }

    def _announce(self, source: _Source) -> None:
        source.announce_again = None
        source.announcing = maybeDeferred(source.plugin.announce, self._bound)
        source.announcing.addCallbacks(
            lambda _: self._announced(source), lambda failure: self._not_announced(source, failure)
        )

    def _announced(self, source: _Source) -> None:
        source.announcing = None
        source.announce_failures = 0
        source.announce_error = ""

    def _not_announced(self, source: _Source, failure: Failure) -> None:
        """Looking for others goes on meanwhile: it is another matter."""
        source.announcing = None
        if self.network.stopping:
            return
        source.announce_failures += 1
        source.announce_error, wait = self._told(source, "announce", failure, source.announce_failures)
        source.announce_again = self.network.clock.callLater(wait, self._announce, source)

    def _ask(self, source: _Source, now: float) -> None:
        limits = self.network.limits
        source.last_run = now
        source.looks += 1
        running = maybeDeferred(source.plugin.find, limits.discovery_addresses)
        source.running = running

        def overdue() -> None:
            running.cancel()
            if source.running is running:
                # A plugin that goes on all the same is not waited for.
                source.running = None
                self._failed(source, "find", Failure(CancelledError()))

        timer = self.network.clock.callLater(limits.discovery_timeout, overdue)

        def finished(result: Sequence[FoundAddress] | Failure) -> None:
            if source.running is not running:
                return
            source.running = None
            if timer.active():
                timer.cancel()
            if isinstance(result, Failure):
                self._failed(source, "find", result)
            else:
                self._left_out.add(max(0, len(result) - limits.discovery_addresses), source.name)
                self._take(source, result[: limits.discovery_addresses])

        running.addBoth(finished)
        running.addErrback(lambda failure: self._failed(source, "find", failure))

    def _take(self, source: _Source, found: Sequence[FoundAddress]) -> None:
        source.failures = 0
        source.last_error = ""
        source.last_success = self.network.unix_time()
        source.total += len(found)
        default = self.network.protocol.default_port
        whole = [
            replace(one, address=PeerAddress(one.address.host, default, one.address.kind))
            if not one.address.port
            else one
            for one in found
        ]
        # Without connections there is nothing to hold: in a network of datagrams they are addresses like others.
        if source.plugin.manual and self.network.parts.transports:
            new = self.network.dialer.set_manual(source.name, whole)
        else:
            book = self.network.book
            by_teller: dict[PeerAddress | str, list[FoundAddress]] = {}
            for one in whole:
                if self.network.addresses.dialable(one.address):
                    by_teller.setdefault(one.told_by or source.name, []).append(one)
            new = sum(book.add(some, teller) for teller, some in by_teller.items())
        source.yielded += new
        self._found.add(len(whole) - new, source.name, "no")
        self._found.add(new, source.name, "yes")
        if new:
            self.network.log.info(
                "{source} found {count} addresses, {new} of them new",
                source=source.name,
                count=len(whole),
                new=new,
            )

    def _failed(self, source: _Source, where: str, failure: Failure) -> None:
        if self.network.stopping and failure.check(CancelledError):
            return
        source.failures += 1
        source.failed += 1
        source.last_error, wait = self._told(source, where, failure, source.failures)
        source.not_before = self.network.clock.seconds() + wait

    def _told(self, source: _Source, where: str, failure: Failure, failures: int) -> tuple[str, float]:
        """Count and say what failed: why, and how long to wait until the next try."""
        limits = self.network.limits
        timed_out = failure.check(CancelledError) is not None
        why = f"nothing after {limits.discovery_timeout:g} s" if timed_out else failure.getErrorMessage()
        wait: float = min(5.0 * 2 ** min(failures, 20), _LONGEST_BACKOFF) * self.network.rng.uniform(0.8, 1.2)
        self._errors.add(1, source.name)
        self.network.log.warn(
            "{source} could not {where}: {error}; next try in {wait:.0f} s",
            source=source.name,
            where=where,
            error=why,
            wait=wait,
        )
        return why, wait
