"""A node that announces what it has, and never gives it: or gives it too late.

    networks:
      bitcoin:
        upgrades: [{plugin: withholder, kinds: [tx, block, notfound]}]     # never
        upgrades: [{plugin: withholder, kinds: [block], delay: 55s}]       # at the last moment: a staller

A Byzantine host for scenarios. Everything else of the node is honest, so that it is connected, trusted and asked like
any other. The trick: an upgrade stands between the conversation and the wire, and nothing says that it has to pass on
everything. It does no I/O of its own, so that what is late goes out with the first bytes that pass once it is due; a
peer that waits for something has always something to say.
"""

from __future__ import annotations

from collections import deque

from zope.interface import implementer

from p2pframe.interfaces import IContext, IUpgrade, IUpgradeState, Upgraded
from p2pframe.model import PeerAddress, PeerId, TransportInfo
from p2pframe.plugin import Duration, Field, PluginConfig, plugin

HEADER = 24
"""Bytes of Bitcoin's v1 header: magic (4), command (12, padded with NULs), length of the payload (4), checksum (4)."""


class WithholderConfig(PluginConfig):
    """Options of the `withholder` upgrade."""

    kinds: tuple[str, ...] = Field(("tx", "block", "notfound"), description="The messages that are not passed on.")
    delay: Duration | None = Field(None, description="Pass them on after this time; unset: never.")
    most: int = Field(1000, ge=1, description="Messages kept for one peer until they are due; beyond that they go.")


@plugin("withholder", config=WithholderConfig)
@implementer(IUpgrade)
class Withholder:
    """Keeps some of a Bitcoin node's own messages back, for good or for a while; for scenarios."""

    name = "withholder"

    def __init__(self, config: WithholderConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        self.kinds = frozenset(config.kinds)
        self.counts = context.metrics.counter("withheld_total", "Messages kept back, for good or not.", ("for",))

    def begin(self, address: PeerAddress, inbound: bool, peer_id: PeerId | None) -> IUpgradeState:
        """See `IUpgrade.begin`."""
        return _Withholding(self)


@implementer(IUpgradeState)
class _Withholding:
    """One session's. What the conversation sends is whole messages, so that nothing needs to be put together."""

    ready = True

    def __init__(self, by: Withholder) -> None:
        self._by = by
        self._late: deque[tuple[float, bytes]] = deque()

    def start(self) -> bytes:
        """See `IUpgradeState.start`: nobody at the other end knows of us."""
        return b""

    def receive(self, data: bytes) -> Upgraded:
        """See `IUpgradeState.receive`."""
        return Upgraded(self._due(), data)

    def send(self, data: bytes) -> bytes:
        """See `IUpgradeState.send`."""
        out = [self._due()]
        at = 0
        while at < len(data):
            end = at + HEADER + int.from_bytes(data[at + 16 : at + 20], "little")
            message = data[at:end]
            if message[4:16].rstrip(b"\0").decode("latin-1") in self._by.kinds:
                self._keep(message)
            else:
                out.append(message)
            at = end
        return b"".join(out)

    def info(self) -> TransportInfo:
        """See `IUpgradeState.info`: nothing is proved."""
        return TransportInfo()

    def _keep(self, message: bytes) -> None:
        delay = self._by.config.delay
        if delay is None or len(self._late) >= self._by.config.most:
            self._by.counts.add(1, "ever")
        else:
            self._by.counts.add(1, "a-while")
            self._late.append((self._by.context.reactor.seconds() + delay, message))

    def _due(self) -> bytes:
        if not self._late:
            return b""
        now = self._by.context.reactor.seconds()
        due: list[bytes] = []
        while self._late and self._late[0][0] <= now:
            due.append(self._late.popleft()[1])
        return b"".join(due)
