"""Runs the discovery plugins: asks each when it is due, bounds what it gives, retries what fails with backoff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure

from p2pframe.interfaces import DiscoveryState, IDiscovery
from p2pframe.model import FoundAddress, PeerAddress

if TYPE_CHECKING:
    from p2pframe.core.network import Network

_LONGEST_BACKOFF = 3600.0


class _Source:
    """One discovery plugin and how it did."""

    __slots__ = (
        "announcing", "failures", "last_error", "last_run", "not_before", "plugin", "running", "total", "yielded",
    )  # fmt: skip

    def __init__(self, plugin: IDiscovery) -> None:
        self.plugin = plugin
        self.running: Deferred[Sequence[FoundAddress]] | None = None
        self.announcing: Deferred[None] | None = None
        self.last_run: float | None = None
        self.not_before = 0.0
        self.failures = 0
        self.last_error = ""
        self.yielded = 0
        self.total = 0


class Finder:
    """The discovery of one network. `step` is called about once a second."""

    def __init__(self, network: Network, plugins: Sequence[IDiscovery]) -> None:
        self.network = network
        self._sources = [_Source(plugin) for plugin in plugins]
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
            label = f"discovery.{source.plugin.name}"
            if network.call_plugin(label, "due", False, source.plugin.due, state):
                self._ask(source, now)

    def announce(self, addresses: Sequence[PeerAddress]) -> None:
        """We listen: have each plugin make us findable."""
        for source in self._sources:
            source.announcing = maybeDeferred(source.plugin.announce, addresses)
            source.announcing.addErrback(partial(self._failed, source, "announce"))

    async def stop(self) -> None:
        """Cancel what runs, and have each plugin take its announcements back, within `limits.close_timeout`."""
        limit = self.network.limits.close_timeout
        for source in self._sources:
            for under_way in (source.running, source.announcing):
                if under_way is not None:
                    under_way.cancel()
            try:
                await maybeDeferred(source.plugin.withdraw).addTimeout(limit, self.network.clock)
            except Exception:  # noqa: BLE001 - one plugin's failure to withdraw must not keep the others from it
                self._failed(source, "withdraw", Failure())

    def status(self) -> dict[str, dict[str, object]]:
        """By plugin: how many addresses it gave, how many were new, and its latest error."""
        return {
            s.plugin.name: {"found": s.total, "new": s.yielded, "failures": s.failures, "error": s.last_error}
            for s in self._sources
        }

    def _ask(self, source: _Source, now: float) -> None:
        limits = self.network.limits
        source.last_run = now
        running = maybeDeferred(source.plugin.find, limits.discovery_addresses)
        source.running = running
        timer = self.network.clock.callLater(limits.discovery_timeout, running.cancel)

        def finished(result: Sequence[FoundAddress] | Failure) -> None:
            source.running = None
            if timer.active():
                timer.cancel()
            if isinstance(result, Failure):
                self._failed(source, "find", result)
            else:
                self._left_out.add(max(0, len(result) - limits.discovery_addresses), source.plugin.name)
                self._take(source, result[: limits.discovery_addresses])

        running.addBoth(finished)
        running.addErrback(lambda failure: self._failed(source, "find", failure))

    def _take(self, source: _Source, found: Sequence[FoundAddress]) -> None:
        source.failures = 0
        source.last_error = ""
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
            new = self.network.dialer.set_manual(source.plugin.name, whole)
        else:
            new = self.network.book.add(
                [one for one in whole if self.network.addresses.dialable(one.address)], source.plugin.name
            )
        source.yielded += new
        self._found.add(len(whole) - new, source.plugin.name, "no")
        self._found.add(new, source.plugin.name, "yes")
        if new:
            self.network.log.info(
                "{source} found {count} addresses, {new} of them new",
                source=source.plugin.name,
                count=len(whole),
                new=new,
            )

    def _failed(self, source: _Source, where: str, failure: Failure) -> None:
        if self.network.stopping and failure.check(CancelledError):
            return
        source.failures += 1
        limits = self.network.limits
        timed_out = failure.check(CancelledError) is not None
        source.last_error = f"nothing after {limits.discovery_timeout:g} s" if timed_out else failure.getErrorMessage()
        wait = min(5.0 * 2 ** min(source.failures, 20), _LONGEST_BACKOFF)
        source.not_before = self.network.clock.seconds() + wait * self.network.rng.uniform(0.8, 1.2)
        self._errors.add(1, source.plugin.name)
        self.network.log.warn(
            "{source} could not {where}: {error}; next try in {wait:.0f} s",
            source=source.plugin.name,
            where=where,
            error=source.last_error,
            wait=wait,
        )
