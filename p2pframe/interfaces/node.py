"""INodeView and INodeControl: core's own face to applications.

Read-only snapshots, and the few things one may ask of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from p2pframe.interfaces.story import SessionStory
from p2pframe.interfaces.visit import Visit
from p2pframe.model import FoundAddress, PeerAddress, Penalty, SessionId, SessionSnapshot, Slot


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, explained.

    `kind` is a stable word (`session.closed`, `peer.refused`, `peer.judged`, `peer.banned`); `time` is unix seconds;
    `number` counts up without gaps. `fields` say who, by which rule, on what evidence, with which score and parts.
    """

    number: int
    time: float
    kind: str
    network: str
    session: SessionId | None
    address: PeerAddress | None
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpreadPeer:
    """What a peer had to do with an item; where it is (None: it ended long ago).

    Seconds after the first sight, None for never: `heard` when it announced the item to us (0: before it had come),
    `told` when we announced or pushed it there, `served` when it asked us for it. `asked`: we had asked it.
    """

    session: SessionId
    address: PeerAddress | None
    heard: float | None
    told: float | None
    served: float | None
    asked: bool


LOG_LEVELS = ("debug", "info", "warn", "error", "critical")
"""Of the log, by how grave they are."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the node's log, safe to show: without control characters, and bounded.

    `number` counts up; `time` is unix seconds; `level` is `debug`, `info`, `warn`, `error` or `critical`; `namespace`
    says who speaks (`bitcoin.relay.inventory`). `fields` are those of its plain values; `traceback` is empty but for a
    failure.
    """

    number: int
    time: float
    level: str
    namespace: str
    text: str
    fields: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    traceback: str = ""

    def fits(self, level: str = "debug", namespace: str = "", text: str = "") -> bool:
        """Whether it is at least as grave, of that namespace or of one in it, and has that text in it."""
        if LOG_LEVELS.index(self.level) < LOG_LEVELS.index(level):
            return False
        if namespace and self.namespace != namespace and not self.namespace.startswith(namespace + "."):
            return False
        return not text or text.casefold() in self.text.casefold()


@dataclass(frozen=True, slots=True)
class Spread:
    """How one item spread, as far as this node saw.

    Unix time of the first sight, who brought it (None: our own), how many announcements of it came in, how many peers
    we told, and the delays of the others' announcements after the first sight, in seconds (bounded; 0 for those that
    came before the item itself).

    `duplicates` is how often it came in whole after the first time, `wasted` the bytes of that. `present` is how many
    peers were there at the first sight, `reached` how many of these have told of it or were told. `address` is where
    the source is; `peers`, where asked for, are in the order in which they first had to do with it.
    """

    topic: str
    id: bytes
    first_seen: float
    source: SessionId | None
    heard_from: int
    told: int
    delays: tuple[float, ...]
    duplicates: int = 0
    wasted: int = 0
    present: int = 0
    reached: int = 0
    address: PeerAddress | None = None
    peers: tuple[SpreadPeer, ...] = ()


@dataclass(frozen=True, slots=True)
class DiscoveryStatus:
    """How one discovery plugin has done: addresses that it found, those that were new, its failures since the latest
    success with the latest error (empty for none), in how many seconds it is tried again after one, when it last
    succeeded (unix seconds; 0: never yet), and in how many looks of how many.
    """

    found: int
    new: int
    failures: int
    error: str
    next_try: float
    last_success: float = 0.0
    looks: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class SourceHolds:
    """What one source has in the address book: addresses that it was the first to tell of, and how many of them have
    answered and stand in the tried table.
    """

    held: int
    tried: int


@dataclass(frozen=True, slots=True)
class AddressView:
    """One address of the book: where it came from, how old it is, how it did.

    `source` is the discovery plugin, or `peers of` a netgroup, that told of it first. Times are unix seconds, 0 for
    never: `first_seen` when it was taken in, `last_seen` when it was last heard of, by the word of whoever told;
    `last_attempt` and `last_success` of our own calls. `failures` since the last success; `tried`: it has answered.
    """

    address: PeerAddress
    source: str
    first_seen: float
    last_seen: float
    last_attempt: float
    last_success: float
    failures: int
    tried: bool
    services: int


@dataclass(frozen=True, slots=True)
class GroupHolds:
    """What a netgroup has in the address book: its addresses, and how many of them stand in the tried table."""

    netgroup: str
    held: int
    tried: int


@dataclass(frozen=True, slots=True)
class AgeHolds:
    """Addresses of an age below `below` seconds (inf: any), and above the class before."""

    below: float
    held: int
    tried: int


@dataclass(frozen=True, slots=True)
class AddressGroups:
    """The address book by netgroup and by age.

    Counted at `counted` (unix seconds; 0: that is not done yet). `groups` is how many netgroups there are, `largest`
    those of most addresses; `known` goes by when addresses were taken in, `heard` by when they were last heard of.
    """

    addresses: int = 0
    groups: int = 0
    largest: tuple[GroupHolds, ...] = ()
    counted: float = 0.0
    known: tuple[AgeHolds, ...] = ()
    heard: tuple[AgeHolds, ...] = ()


@dataclass(frozen=True, slots=True)
class SettingView:
    """One value of the configuration in force.

    `path` is dotted (`networks.bitcoin.limits.visits`), `value` is `***` for a secret, `where` its file:line:column,
    `default`, or that it was set while the node runs; `live`: `INodeControl.change` takes it. For one that is not,
    `takes` says what a change of the file takes: `reload` (it is read again, and nothing is restarted), or a restart
    of its `network`, of the `applications`, of the `node`.
    """

    path: str
    value: str | int | float | bool | None
    where: str
    live: bool
    takes: str = ""


@dataclass(frozen=True, slots=True)
class PluginView:
    """One plugin of the node: of a network (empty: of the node itself), its kind and name (`relay.inventory`), its
    summary, the package or file that it comes from, and how many exceptions came out of it.
    """

    network: str
    label: str
    summary: str
    origin: str
    errors: int


@dataclass(frozen=True, slots=True)
class BoundView:
    """One bound of the configuration in force, and what came of it.

    `network` is empty for the node's own and applications'. `path`, `value`, `where` and `live` are as in
    `SettingView`; of a list `value` is its text. `unit` is `bytes`, `seconds` or empty. `counter` names the metric, as
    in the exposition, that counts what was turned away, `label` the values of its labels that stand for this bound;
    without a counter nothing is ever turned away. `refuses` are the reasons of refusals, ends of sessions and verdicts
    that it leads to. `fills`: that it is full is no alarm. `turned_away` counts since the start; bounds that are
    counted together all have the sum. `used` is what is used of it now, None where that is not known.
    """

    network: str
    path: str
    value: str | int | float | bool | None
    unit: str
    where: str
    live: bool
    description: str
    counter: str
    label: tuple[str, ...]
    refuses: tuple[str, ...]
    fills: bool
    turned_away: float
    used: float | None


@dataclass(frozen=True, slots=True)
class NetworkView:
    """One network at a glance. `topics` are those of its items.

    `messages` are what came in since it opened, over all sessions: (messages, bytes) by type. `discovery` is by plugin;
    several of one name are told apart by a number (`http`, `http#2`). `sources` are those that told of most addresses
    in the book. `rate_in` and `rate_out` are bytes a second over all sessions and datagrams, averaged over some 15 s.
    """

    name: str
    protocol: str
    listening: tuple[str, ...]
    slots: Mapping[Slot, tuple[int, int]]
    book: Mapping[str, int]
    status: Mapping[str, str | int | float | bool]
    messages: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    discovery: Mapping[str, DiscoveryStatus] = field(default_factory=dict)
    sources: Mapping[str, SourceHolds] = field(default_factory=dict)
    topics: tuple[str, ...] = ()
    rate_in: float = 0.0
    rate_out: float = 0.0


T = TypeVar("T")


class INodeView(Interface):
    """Read-only snapshots of a node. `context.service(INodeView)`."""

    def networks() -> Sequence[NetworkView]:
        """Every network, in config order. `slots` maps a class to (used, allowed); `status` comes from the protocol."""

    def sessions(network: str | None = None) -> Sequence[SessionSnapshot]:
        """Every session, by network and id."""

    def session(network: str, session: SessionId) -> SessionSnapshot | None:
        """One of them; None where it has ended, or there is no such."""

    def each_session(network: str) -> Iterator[SessionSnapshot]:
        """Those that a network has now, each as it is when it is its turn, and none that has ended by then.

        A thousand snapshots take ten milliseconds: who needs them all, and not of one moment, spreads them over turns.
        """

    def penalties(offset: int = 0, limit: int | None = None) -> Sequence[Penalty]:
        """Bans and discouragements in force, bans first, the latest of each scope and kind first; at most `limit`.

        There may be a hundred thousand (`node.bans`, `node.discouraged`): who shows them asks for some at a time.
        """

    def events(after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """Events with a number greater than `after` that are still kept (`node.events`), oldest first."""

    def latest(
        limit: int = 100,
        network: str | None = None,
        session: SessionId | None = None,
        kinds: Collection[str] | None = None,
        before: int | None = None,
    ) -> Sequence[Event]:
        """The latest events that are still kept, newest first.

        Where given: of a network, of one session of it, of some kinds, with a number less than `before`.
        """

    def story(network: str, session: SessionId) -> SessionStory | None:
        """How a session went, or went so far: states, scores, facts and what came of them; None where none is known.

        Of those that have ended the latest are known (`limits.story_sessions`).
        """

    def spreads(network: str, limit: int = 100, topic: str | None = None) -> Sequence[Spread]:
        """The latest items of a network and how they spread, newest first, without `peers`; of one topic where given.

        Raises KeyError for a network that there is not.
        """

    def spread(network: str, topic: str, id: bytes) -> Spread | None:
        """How one item spread, with its peers; None where it is not among the latest (`limits.spreads`).

        Raises KeyError for a network that there is not.
        """

    def addresses(network: str, offset: int = 0, limit: int = 100, source: str | None = None) -> Sequence[AddressView]:
        """A page of a network's address book, in the order in which they were taken in; of one source where given.

        Raises KeyError for a network that there is not.
        """

    def address_groups(network: str) -> AddressGroups:
        """A network's address book by netgroup and by age, counted in the background at most every 30 s.

        Raises KeyError for a network that there is not.
        """

    def numbers() -> Mapping[str, Mapping[tuple[str, ...], float]]:
        """Every counter and gauge: by name (as in the exposition), then by (network, label values...)."""

    def exposition() -> bytes:
        """Every counter and gauge of the node, in the text format that Prometheus reads (0.0.4)."""

    def config() -> Mapping[str, object]:
        """The effective config, secrets as `***`."""

    def providers(interface: type[T]) -> Sequence[tuple[str, T]]:
        """Every plugin of the node that provides an interface, with its label (`bitcoin: relay.inventory`)."""

    def bounds() -> Sequence[BoundView]:
        """Every bound of the configuration in force, in its order: core's own and those that plugins declare."""

    def plugins() -> Sequence[PluginView]:
        """Every plugin that was built, in that order."""

    def settings() -> Sequence[SettingView]:
        """Every value of the configuration in force, where it comes from, and whether it may be set while it runs."""

    def changed() -> Mapping[str, str | int | float | bool | None]:
        """What `INodeControl.change` has set, by dotted path."""

    def subscribe(callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call back with every event from now on. Returns what ends it."""

    def logs(
        after: int = 0, limit: int = 1000, level: str = "debug", namespace: str = "", text: str = ""
    ) -> Sequence[LogLine]:
        """Lines of the log with a number greater than `after` that are still kept (`node.log_lines`), oldest first.

        Of them those at least as grave as `level`, of `namespace` or of one in it (`bitcoin` has `bitcoin.relay`), and
        with `text` in them. Below `node.log_level` none is kept.
        """

    def latest_logs(
        limit: int = 100, before: int | None = None, level: str = "debug", namespace: str = "", text: str = ""
    ) -> Sequence[LogLine]:
        """The same, newest first, of those with a number less than `before`."""

    def follow_log(callback: Callable[[LogLine], None]) -> Callable[[], None]:
        """Call back with every line from now on. Returns what ends it.

        What is logged in the callback itself is kept, and told to nobody.
        """


class INodeControl(Interface):
    """What one may ask of a node. `context.service(INodeControl)`."""

    def connect(network: str, address: PeerAddress) -> Deferred[SessionId]:
        """Dial a manual peer once; fires when the session has opened, fails with the reason why not."""

    def visit(network: str, address: PeerAddress, peers: int = 0, wait: float = 30.0) -> Deferred[Visit]:
        """Call on a peer for a moment: who is it, and at most how many others (`peers`) does it know?

        Takes at most `wait` seconds and no slot; what it tells does not enter the address book. A peer that we have
        dialled and hold a session with is not called: what is known of it is told at once, without others. In a
        network of datagrams its protocol does it (`IVisitor`). Fails with `P2PFrameError`, which says why, where it
        is not reached or does not finish its handshake; with `VisitRefused` where it was not even called, as
        `limits.visits`, or one to it, are under way.
        """

    def disconnect(network: str, session: SessionId, reason: str = "asked to") -> bool:
        """End a session; False where there is none of that id."""

    def ban(subject: str, duration: float, reason: str, scope: str = "node") -> Deferred[None]:
        """Ban an address, network or `id:` peer for `duration` seconds and end its sessions; fires when it is durable.

        Raises ValueError where `subject` is none of these or `scope` no network.
        """

    def unban(subject: str, scope: str = "node") -> Deferred[bool]:
        """Lift a ban or discouragement; fires with whether there was one, when durable."""

    def protect(network: str, session: SessionId, protected: bool = True) -> bool:
        """Keep a session from eviction and rotation; False where there is none of that id."""

    def tap(network: str, session: SessionId, callback: Callable[[str, bytes], None]) -> Callable[[], None] | None:
        """Call back with direction (`in`, `out`) and bytes of a session's conversation, as they are without upgrades.

        What came in is shown when the conversation gets it, in the pieces in which it does, before it answers. A
        session may have several taps; one that raises is taken off. Returns what ends this one, None where there is
        no session of that id.
        """

    def reconfigure(path: str | Path) -> Deferred[Sequence[str]]:
        """Check a whole config file and apply it.

        Plugins are reconfigured where only live fields differ, else their network is restarted. Fires with what was
        done, in words. Fails with `ConfigError` where the file has mistakes, with `RestartNeeded` where it takes a
        restart of the node: nothing has changed then. Another `StartError` says which networks are down, the rest being
        applied; they are tried again at the next call, whatever differs.
        """


    def change(
        values: Mapping[str, object], dry: bool = False, based_on: Mapping[str, object] | None = None
    ) -> Deferred[Sequence[str]]:
        """Set live values, by dotted path, over what the file says: as a whole, in place of those that were set before.

        They hold until the configuration is read again, or the node stops. Fires with what has changed, in words; with
        `dry` nothing is changed. Fails with `ConfigError` where a value can't be, or is not set while the node runs
        (`SettingView.live`), and with `RestartNeeded` where the file itself has changed since it was read. With
        `based_on` it fails with `P2PFrameError` where something else than that is set when its turn has come.
        """


class IAddressBook(Interface):
    """A network's addresses, for its protocol. `context.service(IAddressBook)`."""

    size: int = Attribute("How many addresses it holds.")

    def sample(maximum: int, percent: int = 100) -> Sequence[FoundAddress]:
        """At most `maximum` and `percent` of the addresses, at random, none stale, with when last heard of."""

    def add(found: Sequence[FoundAddress], source: PeerAddress | str) -> int:
        """Take addresses in; `source` is the peer that told of them or a discovery plugin's name.

        Returns how many were new.
        """

    def attempt(address: PeerAddress) -> None:
        """A protocol of datagrams calls on it now. (Core does this for sessions.)"""

    def good(address: PeerAddress) -> None:
        """A protocol of datagrams had an answer from it. (Core does this for sessions.)"""


class IStatus(Interface):
    """A protocol may also provide this: what to show of it at a glance."""

    def status() -> Mapping[str, str | int | float | bool]:
        """A few named values (height, tip, held transactions)."""


class IUsage(Interface):
    """A plugin whose config has bounds may also provide this: what is used of them."""

    def usage() -> Mapping[str, float]:
        """What is used now, by the names of config fields that are bounds (`p2pframe.plugin.bound`).

        Asked every few seconds where somebody looks: only what is known without counting it.
        """


class IReconfigurable(Interface):
    """A plugin with live config fields also provides this."""

    def reconfigure(config: object) -> None:
        """Called with a new, checked config that differs in live fields only.

        Usually `self.config = config`. Must not raise.
        """
