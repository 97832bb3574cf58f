"""The world that a node lives in, and each plugin's window onto it.

`World` is the one seam between service and simulator: time and sockets, chance, names, threads, the wall clock.
`Context` is what a plugin gets of it.
"""

from __future__ import annotations

# real world: time, os.urandom: this is where a service's own come from
# real world: twisted.internet.threads, twisted.python.threadpool: and its threads
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import ParamSpec, Protocol, TypeVar, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IHostnameResolver, IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from twisted.python import threadable
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from p2pframe.core.data_dir import DataDir
from p2pframe.core.host_interfaces import host_interfaces
from p2pframe.errors import P2PFrameError
from p2pframe.interfaces import Entropy, IContext, IHostReactor, INamespace, Metrics
from p2pframe.model import NetworkInterface

T = TypeVar("T")
P = ParamSpec("P")
_LOGGED = 1000
"""Lines of other threads that may wait for the reactor's."""


class DataFolders(Protocol):
    """What a node asks of its data directory; see `p2pframe.core.data_dir`."""

    def open(self) -> None:
        """Make it, check it, lock it. Raises `StartError`."""

    def close(self, clean: bool = True) -> None:
        """Let another process have it; `clean` says that everything was written."""

    def folder(self, network: str, label: str) -> Path:
        """A plugin's folder, made when first asked for. Raises `StartError`."""


class LogSink(Protocol):
    """What keeps the lines of a node's log; see `p2pframe.core.log_lines`."""

    def wants(self, event: LogEvent) -> bool:
        """Whether it takes an event: asked in any thread, and quick."""

    def __call__(self, event: LogEvent) -> None:
        """Take one, in the reactor's thread."""

    def lost(self) -> None:
        """One could not be handed over."""


class World(Protocol):
    """What differs between a service and a simulated host."""

    reactor: IHostReactor

    def unix_time(self) -> float:
        """The host's wall clock, seconds since 1970."""

    def rng(self, label: str) -> Random:
        """Order and jitter for one plugin: its own stream, so that adding a plugin shifts nobody else's draws."""

    def entropy(self, label: str) -> Entropy:
        """Unpredictable bytes for one plugin."""

    def data_dir(self, path: Path) -> DataFolders:
        """The node's data directory; not opened yet."""

    def interfaces(self) -> Sequence[NetworkInterface]:
        """The host's network interfaces and their addresses."""

    def work(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run off the reactor thread, within bounds."""

    def observe_log(self, sink: LogSink) -> Callable[[], None]:
        """Hand over what is logged in this world from now on. Returns what ends that."""

    def start(self, threads: int, queue: int) -> None:
        """Make what `work` needs."""

    def stop(self) -> None:
        """End what `start` made."""


class SystemEntropy:
    """os.urandom: nothing seeds it."""

    def bytes(self, length: int) -> bytes:
        """See `Entropy.bytes`."""
        return os.urandom(length)

    def integer(self, bits: int) -> int:
        """See `Entropy.integer`."""
        return int.from_bytes(os.urandom((bits + 7) // 8), "big") >> (-bits % 8)


class WorkRefused(P2PFrameError):
    """Too much is waiting for a thread already."""


class ServiceWorld:
    """The real one: the process's reactor, the system's chance and clock, a bounded pool of threads."""

    def __init__(self, reactor: IHostReactor) -> None:
        self.reactor = reactor
        self._pool: ThreadPool | None = None
        self._queue = 0
        self._waiting = 0

    def unix_time(self) -> float:
        """See `World.unix_time`."""
        return time.time()

    def rng(self, label: str) -> Random:
        """See `World.rng`."""
        return Random(os.urandom(16))

    def entropy(self, label: str) -> Entropy:
        """See `World.entropy`."""
        return SystemEntropy()

    def data_dir(self, path: Path) -> DataFolders:
        """See `World.data_dir`."""
        return DataDir(path)

    def interfaces(self) -> Sequence[NetworkInterface]:
        """See `World.interfaces`."""
        return host_interfaces()

    def observe_log(self, sink: LogSink) -> Callable[[], None]:
        """See `World.observe_log`: all that the process logs; what a thread does is handed to the reactor's."""
        waiting = 0

        def hand_over(event: LogEvent) -> None:
            nonlocal waiting
            waiting -= 1
            sink(event)

        def observe(event: LogEvent) -> None:
            nonlocal waiting
            if not sink.wants(event):
                return
            if cast(int | None, threadable.ioThread) in (None, threadable.getThreadID()):
                sink(event)
            elif waiting < _LOGGED:
                waiting += 1
                cast(IReactorFromThreads, self.reactor).callFromThread(hand_over, event)
            else:
                sink.lost()

        observer = cast(ILogObserver, observe)
        globalLogPublisher.addObserver(observer)
        return lambda: globalLogPublisher.removeObserver(observer)

    def start(self, threads: int, queue: int) -> None:
        """See `World.start`."""
        self._queue = queue
        self._pool = ThreadPool(0, threads, "p2pframe-work")
        self._pool.start()

    def stop(self) -> None:
        """See `World.stop`. Waits for what is running."""
        if self._pool is not None:
            self._pool.stop()
            self._pool = None

    def work(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See `World.work`. Fails with `WorkRefused` when too much is waiting."""
        if self._pool is None:
            return fail(WorkRefused("the node has stopped: there are no threads to work on"))
        if self._waiting >= self._queue:
            return fail(WorkRefused(f"{self._waiting} jobs are waiting already (node.work_queue)"))
        self._waiting += 1

        def finished(result: T) -> T:
            self._waiting -= 1
            return result

        return deferToThreadPool(
            cast(IReactorFromThreads, self.reactor), self._pool, function, *args, **kwargs
        ).addBoth(finished)


class Host(Protocol):
    """What a context asks of the node that it belongs to."""

    world: World

    def namespace(self, network: str, owner: str) -> INamespace:
        """A plugin's part of the storage."""

    def folder(self, network: str, owner: str) -> Path:
        """A plugin's folder in the data directory."""

    def provide(self, asker: str, interface: type[object], network: str) -> object:
        """Whoever provides an interface."""


@implementer(IContext)
class Context:
    """See `IContext`."""

    def __init__(self, host: Host, name: str, network: str, metrics: Metrics, serves: str | None = None) -> None:
        world = host.world
        self.name = name
        self.network = network
        self.reactor = world.reactor
        self.metrics = metrics
        self.log = Logger(namespace=f"p2pframe.{network}.{name}" if network else f"p2pframe.{name}")
        self._label = f"{network}/{name}"
        self.entropy = world.entropy(self._label)
        self.unix_time = world.unix_time
        self.interfaces = world.interfaces
        self._host = host
        self._serves = serves
        self._rng: Random | None = None
        self._storage: INamespace | None = None

    @property
    def rng(self) -> Random:
        """See `IContext.rng`. Made when first asked for: it takes 2500 bytes, and most plugins draw nothing."""
        if self._rng is None:
            self._rng = self._host.world.rng(self._label)
        return self._rng

    @property
    def resolver(self) -> IHostnameResolver:
        """See `IContext.resolver`."""
        return self.reactor.nameResolver

    @property
    def data_dir(self) -> Path:
        """See `IContext.data_dir`."""
        return self._host.folder(self.network, self.name)

    @property
    def storage(self) -> INamespace:
        """See `IContext.storage`."""
        if self._storage is None:
            self._storage = self._host.namespace(self.network, self.name)
        return self._storage

    def work(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See `IContext.work`."""
        return self._host.world.work(function, *args, **kwargs).addErrback(self._refused)

    def _refused(self, failure: Failure) -> Failure:
        if failure.check(WorkRefused):
            self.metrics.counter("work_refused_total", "Jobs that found too many waiting for a thread.").add()
        return failure

    def service(self, interface: type[T], network: str | None = None) -> T:
        """See `IContext.service`."""
        asked = network if network is not None else self._serves if self._serves is not None else self.network
        asker = f"{self.network}: {self.name}" if self.network else self.name
        return cast(T, self._host.provide(asker, interface, asked))
