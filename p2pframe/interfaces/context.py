"""IContext: all that a plugin may touch of the world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHostnameResolver,
    IReactorMulticast,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IReactorUDP,
)
from twisted.logger import Logger
from zope.interface import Attribute, Interface

from p2pframe.interfaces.storage import INamespace
from p2pframe.model import NetworkInterface

T = TypeVar("T")
P = ParamSpec("P")


class IHostReactor(IReactorTime, IReactorTCP, IReactorUDP, IReactorMulticast, IReactorPluggableNameResolver):
    """What `context.reactor` is used as: Twisted's own interfaces together, all of them met by the simulator too."""


class Entropy(Protocol):
    """Chance that must not be guessed: keys, tokens, nonces, salts. os.urandom in service; no config can seed it."""

    def bytes(self, length: int) -> bytes:
        """`length` unpredictable bytes."""

    def integer(self, bits: int) -> int:
        """An unpredictable integer of at most that many bits."""


class Counter(Protocol):
    """A number that grows; one for each set of label values."""

    def add(self, amount: float = 1, *labels: str) -> None:
        """Add; `labels` are values for the label names given at its making, from a bounded set of words."""


class Gauge(Protocol):
    """A number that goes up and down."""

    def set(self, value: float, *labels: str) -> None:
        """Set it."""


class Metrics(Protocol):
    """Where plugins count. Names are without prefix; the network's name is added as a label by core."""

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        """The counter of that name (the same one each time)."""

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
        """The gauge of that name (the same one each time)."""


class IContext(Interface):
    """All that a plugin may touch: what lets one class run as a service, in the simulator and in a test."""

    name: str = Attribute("Kind and name of the plugin (`relay.inventory`), for messages.")
    network: str = Attribute("The name of its network; empty for plugins of the node.")
    reactor: IHostReactor = Attribute(
        "Time and sockets: IReactorTime, IReactorTCP, IReactorUDP, IReactorMulticast, IReactorPluggableNameResolver."
    )
    rng: Random = Attribute("Order and jitter; repeatable in the simulator. Never secrets.")
    entropy: Entropy = Attribute("Keys, tokens, nonces, salts.")
    resolver: IHostnameResolver = Attribute("Names to addresses.")
    log: Logger = Attribute("A logger that carries network and plugin.")
    data_dir: Path = Attribute(
        "A folder of the plugin's own under the node's data directory, made when first asked for."
    )
    metrics: Metrics = Attribute("Counters and gauges.")
    storage: INamespace = Attribute("The plugin's namespace in the node's storage engine; to be used from start on.")

    def unix_time() -> float:
        """Seconds since 1970 by the host's clock (which may jump, and be skewed in the simulator)."""

    def interfaces() -> Sequence[NetworkInterface]:
        """The host's network interfaces that have addresses, as they are now: for who speaks to a link."""

    def work(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run a function off the reactor thread, in a bounded pool; in the simulator inline, with a modelled delay.

        Fails with what the function raises, or with `P2PFrameError` where too many wait already (`node.work_queue`).
        """

    def service(interface: type[T], network: str | None = None) -> T:
        """What others provide: core's services, or a plugin that provides `interface`, of this network or a named one.

        Asking in the constructor orders the start: the provider is built and started first. Raises `PluginError` where
        nobody provides it, or where the asking goes in a circle.
        """
