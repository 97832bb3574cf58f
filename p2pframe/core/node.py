"""A node: one data directory, one process, one or more networks.

It builds what the config names, in order, and takes it down.

    prepare   data directory locked, plugins built, ports bound: all that can be found wrong without the reactor
    start     storage opened, bans read, plugins started in the order that they ask for one another, networks opened
    stop      the same, backwards
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, cast

from twisted.application.service import IService
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2pframe.config.settings import NetworkSpec, NodeSettings, NodeSpec, PluginChoice
from p2pframe.config.tree import Plain
from p2pframe.core.address_book import AddressBook
from p2pframe.core.addresses import BookService
from p2pframe.core.bans import BanList
from p2pframe.core.building import Builder, Place
from p2pframe.core.context import Context, DataFolders, ServiceWorld, World
from p2pframe.core.control import Control, View
from p2pframe.core.events import Events
from p2pframe.core.items import Items
from p2pframe.core.log_lines import LogLines
from p2pframe.core.metrics import NodeMetrics
from p2pframe.core.network import Network
from p2pframe.core.parts import Parts
from p2pframe.core.reconfiguring import choices_of
from p2pframe.core.scheduler import Scheduler
from p2pframe.core.watchdog import Watchdog
from p2pframe.errors import P2PFrameError, StartError
from p2pframe.interfaces import (
    IAddressBook,
    IApplication,
    IDatagramTransport,
    IHostReactor,
    IItems,
    INamespace,
    INodeControl,
    INodeView,
    IScheduler,
    IStorage,
)
from p2pframe.model import Topic

_SWEEP = 60.0
_SAVE_BOOK = 900.0


class Node:
    """One node, from a checked configuration. `world` is the service's unless a simulator gives its own."""

    def __init__(self, spec: NodeSpec, reactor: IHostReactor, world: World | None = None) -> None:
        self.spec = spec
        self.world: World = world if world is not None else ServiceWorld(reactor)
        self.reactor = self.world.reactor
        self.log = Logger(namespace="p2pframe.node")
        self.metrics = NodeMetrics()
        core_metrics = self.metrics.view("", "core")
        self._plugin_errors = core_metrics.counter(
            "plugin_errors_total", "Exceptions out of plugins.", ("plugin", "where")
        )
        self.events = Events(spec.node.events, self.world.unix_time, core_metrics)
        self.log_lines = LogLines(spec.node, self.world.unix_time, core_metrics)
        self._unobserve: Callable[[], None] = lambda: None
        self.bans = BanList(spec.node, self.world.unix_time, core_metrics)
        self.changed: dict[str, Plain] = {}
        """Live values that were set over what the file says, by dotted path."""
        self.networks: dict[str, Network] = {}
        self.metrics.before_reading = self._count_traffic
        self.applications: list[IApplication] = []
        self.settings_changed: list[Callable[[NodeSettings], None]] = []
        """Called when the node's own settings have changed while it runs.

        The log follows them, whoever asked for the change.
        """
        self.data_dir: DataFolders | None = None
        self.storage: IStorage | None = None
        self.watchdog = Watchdog(self.reactor, lambda: self.spec.node.watchdog, core_metrics)
        self.builder = Builder(self._context)
        self._started: list[tuple[str, Any]] = []
        self._binding: list[Deferred[None]] = []
        self._loops: list[LoopingCall] = []
        self._starting: Deferred[None] | None = None
        self._stopping = False
        self.view = View(self)
        self.control = Control(self)
        self.builder.offer("", INodeView, self.view)
        self.builder.offer("", INodeControl, self.control)

    # --- what contexts ask (core/context.py: Host) ---

    def namespace(self, network: str, owner: str) -> INamespace:
        """A plugin's part of the storage."""
        if self.storage is None:
            raise P2PFrameError(f"{owner}: the storage is not open yet: use context.storage from start on")
        return self.storage.namespace(network, owner)

    def folder(self, network: str, owner: str) -> Path:
        """A plugin's folder in the data directory, made when first asked for."""
        assert self.data_dir is not None
        return self.data_dir.folder(network, owner)

    def provide(self, asker: str, interface: type[object], network: str) -> object:
        """Whoever provides an interface."""
        return self.builder.provide(asker, interface, network)

    def plugin_failed(self, network: str, label: str, where: str, failure: Failure) -> None:
        """A plugin raised: log it with its name, count it, go on. `network` is empty for the node's own."""
        if network in self.networks:
            self.networks[network].plugin_failed(label, where, failure)
        else:
            self._plugin_errors.add(1, label, where)
            self.log.failure("plugin {plugin} failed in {where}", failure=failure, plugin=label, where=where)

    def _count_traffic(self) -> None:
        for network in list(self.networks.values()):
            network.count_traffic()

    # --- up ---

    def prepare(self) -> None:
        """Everything that needs no reactor to run.

        Raises `StartError` or `PluginError`, with nothing left locked or bound.
        """
        self.data_dir = self.world.data_dir(self.spec.node.data_dir)
        self.data_dir.open()
        self._unobserve = self.world.observe_log(self.log_lines)
        try:
            self.world.start(self.spec.node.work_threads, self.spec.node.work_queue)
            storage = self.builder.place(self.spec.storage, "")
            for spec in self.spec.networks.values():
                self._place_network(spec)
            applications = [self.builder.place(choice, "") for choice in self.spec.applications]
            self.storage = self.builder.build(storage)
            for name, spec in self.spec.networks.items():
                self.networks[name] = self._build_network(spec)
            self.applications = [self.builder.build(place) for place in applications]
            for network in self.networks.values():
                self._binding += network.ports.open()
        except BaseException:
            for network in self.networks.values():
                Deferred.fromCoroutine(network.ports.close())
            self.world.stop()
            self.data_dir.close(clean=True)
            self._unobserve()
            raise

    def start(self) -> Deferred[None]:
        """Open everything. Fails with `StartError`, which says what to do; `stop` is to be called then too."""
        self._starting = Deferred.fromCoroutine(self._start())
        return self._starting

    async def _start(self) -> None:
        assert self.storage is not None
        for binding in self._binding:
            await binding
        self._binding = []
        await self._do("storage", self.storage.start)
        await self.bans.load(self.namespace("", "core.bans"))
        for place in tuple(self.builder.built):
            self._go_on()
            await self._start_service(place)
        for network in tuple(self.networks.values()):
            self._go_on()
            await network.open()
        for place in tuple(self.builder.built):
            if IApplication.providedBy(place.instance):
                self._go_on()
                await self._start_application(place)
        self._go_on()
        self.watchdog.start()
        self._every(_SWEEP, self._sweep)
        self._every(_SAVE_BOOK, self._save_books)
        self.log.info("node started: {networks}", networks=", ".join(self.networks))

    def _go_on(self) -> None:
        if self._stopping:
            raise StartError("the node was stopped while it was being started")

    async def _start_application(self, place: Place) -> None:
        await self._do(place.label, place.instance.start)
        self._started.append((place.label, place.instance))

    async def _start_service(self, place: Place) -> None:
        if place.choice.spec.kind != "storage" and IService.providedBy(place.instance):
            await self._do(place.label, place.instance.startService)
            self._started.append((place.label, place.instance))

    async def _do(self, label: str, call: Callable[[], object]) -> None:
        try:
            await maybeDeferred(call)
        except P2PFrameError:
            raise
        except Exception as error:
            raise StartError(f"{label} could not start: {type(error).__name__}: {error}") from error

    # --- down ---

    def stop(self) -> Deferred[None]:
        """Take everything down, also after a start that failed half-way.

        Always fires with None; what fails is logged.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        starting = self._starting
        if starting is not None and not starting.called:
            # What is half open can't be closed: the step under way ends first, and the start ends with it.
            over: Deferred[None] = Deferred()

            def ended(result: object) -> object:
                over.callback(None)
                return result

            starting.addBoth(ended)
            await self._quietly("the start", lambda: over, self.spec.node.stop_timeout)
        for loop in self._loops:
            if loop.running:
                loop.stop()
        self._loops.clear()
        self.watchdog.stop()
        limit = self.spec.node.stop_timeout
        started, self._started = self._started, []
        for label, instance in reversed([s for s in started if IApplication.providedBy(s[1])]):
            await self._quietly(label, instance.stop, limit)
        for name, network in tuple(self.networks.items()):
            await self._quietly(name, network.stop, limit)
        for label, instance in reversed([s for s in started if not IApplication.providedBy(s[1])]):
            await self._quietly(label, instance.stopService, limit)
        clean = True
        if self.storage is not None:
            clean = await self._quietly("storage", self.storage.stop, max(limit, 60.0))
        self.world.stop()
        if self.data_dir is not None:
            self.data_dir.close(clean=clean)
        self.log.info("node stopped")
        self._unobserve()

    async def _quietly(self, label: str, call: Callable[[], Any], limit: float) -> bool:
        """Run one step of the stop; the others go on whatever happens to it. False where it failed."""

        def run() -> Any:
            result = call()
            return Deferred.fromCoroutine(result) if isinstance(result, Coroutine) else result

        try:
            await maybeDeferred(run).addTimeout(limit, self.reactor)
        except TimeoutError:
            self.log.error("{label} did not stop within {limit} s; going on without it", label=label, limit=limit)
            return False
        except Exception:  # noqa: BLE001 - the rest must still be stopped
            self.log.failure("{label} failed to stop", label=label)
            return False
        return True

    # --- one network ---

    def _place_network(self, spec: NetworkSpec) -> None:
        for choice in choices_of(spec):
            self.builder.place(choice, spec.name)

    def _build_network(self, spec: NetworkSpec) -> Network:
        places = {id(p.choice): p for p in self.builder.places_of(spec.name)}
        metrics = self.metrics.view(spec.name, "core")
        world = self.world

        def build(choice: PluginChoice) -> Any:
            return self.builder.build(places[id(choice)])

        protocol_class = spec.protocol.cls
        network: list[Network] = []
        scheduler = Scheduler(
            world.reactor,
            protocol_class.topics,
            lambda session, topic, ids: network[0].request(session, topic, ids),
            lambda session, topic, id: network[0].request_timed_out(session, topic, id),
            metrics,
            spec.limits.wanted_items,
        )
        items = Items(
            world.reactor,
            world.unix_time,
            protocol_class.topics,
            scheduler,
            lambda: network[0].limits,
            metrics,
            lambda label, where, failure: network[0].plugin_failed(label, where, failure),
            Logger(namespace=f"p2pframe.{spec.name}"),
        )
        book = AddressBook(
            spec.limits,
            world.rng(f"{spec.name}/book"),
            world.entropy(f"{spec.name}/book"),
            world.unix_time,
            metrics,
        )
        self.builder.offer(spec.name, IItems, items)
        self.builder.offer(spec.name, IScheduler, scheduler)
        self.builder.offer(spec.name, IAddressBook, BookService(lambda: network[0]))
        parts = Parts()
        parts.protocol = build(spec.protocol)
        for choice in spec.transports:
            transport = build(choice)
            if IDatagramTransport.providedBy(transport):
                parts.datagrams.append(transport)
            else:
                parts.transports.append(transport)
        parts.upgrades = [build(choice) for choice in spec.upgrades]
        parts.discovery = [build(choice) for choice in spec.discovery]
        parts.topology = build(spec.topology) if spec.topology is not None else None
        parts.relay = build(spec.relay) if spec.relay is not None else None
        parts.scorers = [build(choice) for choice in spec.scoring]
        parts.authenticators = [build(choice) for choice in spec.authentication]
        parts.validators = [build(choice) for choice in spec.validators]
        parts.stores = dict(parts.protocol.stores())
        parts.stores.update({Topic(topic): build(choice) for topic, choice in spec.item_stores.items()})
        own = parts.protocol.validators()
        validators = {
            topic: [
                *([own[topic]] if topic in own else []),
                *(v for v in parts.validators if not v.topics or topic in v.topics),
            ]
            for topic in protocol_class.topics
        }
        items.bind(parts.stores, validators, parts.relay)
        # Called when the network opens: the storage is not open yet.
        namespace = partial(self.namespace, spec.name, "core.network")
        network.append(
            Network(spec, world, parts, items, scheduler, book, self.bans, self.events, metrics, namespace)
        )
        return network[0]

    async def restart_network(self, spec: NetworkSpec) -> None:
        """Take one network down, if it is up, and up again with a new config.

        Applications are stopped meanwhile, as they hold its parts. Raises what kept it from coming up; nothing of it is
        left then, and the applications run again.
        """
        self._go_on()
        await self._stop_applications()
        try:
            await self._take_down(spec.name)
            try:
                await self._bring_up(spec)
            except BaseException:
                await self._take_down(spec.name)
                raise
        finally:
            await self._start_applications()

    async def _bring_up(self, spec: NetworkSpec) -> None:
        self._place_network(spec)
        network = self.networks[spec.name] = self._build_network(spec)
        for binding in network.ports.open():
            await binding
        for place in self.builder.places_of(spec.name):
            if place.instance is not None:
                self._go_on()
                await self._start_service(place)
        self._go_on()
        await network.open()

    async def remove_network(self, name: str) -> None:
        """Take one network down for good."""
        await self._stop_applications()
        await self._take_down(name)
        await self._start_applications()

    async def restart_applications(self) -> None:
        """Stop the applications and start those of the present config."""
        await self._stop_applications()
        await self._start_applications()

    async def _take_down(self, name: str) -> None:
        network = self.networks.pop(name, None)
        limit = self.spec.node.stop_timeout
        if network is not None:
            await self._quietly(name, network.stop, limit)
        mine = {id(place.instance) for place in self.builder.places_of(name)}
        for label, instance in reversed([s for s in self._started if id(s[1]) in mine]):
            await self._quietly(label, instance.stopService, limit)
        self._started = [s for s in self._started if id(s[1]) not in mine]
        self.builder.forget(name)

    async def _stop_applications(self) -> None:
        running = [s for s in self._started if IApplication.providedBy(s[1])]
        for label, instance in reversed(running):
            await self._quietly(label, instance.stop, self.spec.node.stop_timeout)
        self._started = [s for s in self._started if not IApplication.providedBy(s[1])]
        self.builder.forget_kind("application")

    async def _start_applications(self) -> None:
        places = [self.builder.place(choice, "") for choice in self.spec.applications]
        self.applications = [self.builder.build(place) for place in places]
        for place in places:
            if not self._stopping:
                await self._start_application(place)

    # --- inside ---

    def _context(self, place: Place) -> Context:
        metrics = self.metrics.view(place.network, place.choice.label)
        return Context(self, place.choice.label, place.network, metrics, place.choice.network)

    def _every(self, interval: float, call: Callable[[], Awaitable[None]]) -> None:
        def run() -> Deferred[None]:
            running = Deferred.fromCoroutine(cast("Coroutine[Deferred[None], Any, None]", call()))
            return running.addErrback(self._timer_failed)

        loop = LoopingCall(run)
        loop.clock = self.reactor
        self._loops.append(loop)
        loop.start(interval, now=False)

    def _timer_failed(self, failure: Failure) -> None:
        self.log.error("housekeeping failed and is tried again later: {why}", why=failure.getErrorMessage())

    async def _sweep(self) -> None:
        await self.bans.sweep()

    async def _save_books(self) -> None:
        for network in list(self.networks.values()):
            await network.save_book()
