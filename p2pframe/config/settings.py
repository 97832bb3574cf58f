"""What a configuration file comes to: the node's own settings, each network's limits, and the plugins chosen.

The models here are core's own part of the YAML; every plugin brings its own model for its part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from p2pframe.plugin import Duration, PluginConfig, PluginSpec, Size, bound, live


class NodeSettings(PluginConfig):
    """The `node:` part: what belongs to the process and its data directory."""

    data_dir: Path = Field(Path("node-data"), description="Everything the node keeps; relative to the config file.")
    plugin_path: tuple[Path, ...] = Field(
        (), description="Folders of drop-in plugin files; relative to the config file."
    )
    events: int = bound(
        10_000,
        ge=100,
        le=1_000_000,
        description="How many past events are kept to explain decisions.",
        counter="events_forgotten",
        fills=True,
    )
    stop_timeout: Duration = bound(10.0, description="How long applications and networks may take to stop.", counter="")
    work_threads: int = Field(4, ge=1, le=64, description="Threads for work that must leave the reactor.")
    work_queue: int = bound(
        10_000, ge=10, description="Jobs that may wait for a thread.", counter="work_refused", live=False
    )
    bans: int = bound(
        100_000, ge=1, description="Entries of the ban list at most.", counter="bans_turned_away", label="ban"
    )
    discouraged: int = bound(
        50_000,
        ge=1,
        description="Discouraged peers remembered, in memory, oldest forgotten first.",
        counter="bans_turned_away",
        fills=True,
        label="discouragement",
    )
    ban_time: Duration = bound(86_400.0, description="How long an automatic ban lasts.", counter="")
    discourage_loopback: bool = live(
        False, description="Let discouragement and automatic bans apply to loopback too (tests)."
    )
    watchdog: Duration = bound(
        0.5,
        description="Name the plugin that blocks the reactor for longer than this; 0 is off.",
        counter="reactor_blocked",
        live=False,
    )
    log_level: Literal["debug", "info", "warn", "error", "critical"] = live(
        "info", description="The least level logged."
    )
    log_file: Path | None = Field(
        None, description="Where to log; where left out: stdout, as a daemon node.log in data_dir."
    )
    log_size: Size = bound(
        10_000_000, ge=10_000, description="Bytes of a log file before the next one is begun.", counter="", live=False
    )
    log_files: int = bound(5, ge=1, le=1000, description="Older log files kept.", counter="", live=False)
    log_json: bool = Field(False, description="Log one JSON object a line instead of lines for people.")
    log_rate: int = bound(
        20,
        ge=1,
        description="Like log lines (same format) a second before the rest are only counted.",
        counter="log_lines_suppressed",
    )
    log_lines: int = bound(
        2_000,
        ge=100,
        le=100_000,
        description="How many of the latest log lines are kept in memory to be looked at.",
        counter="log_lines_forgotten",
        fills=True,
    )


class Limits(PluginConfig):
    """The `limits:` part of a network: every bound that core holds for it."""

    receive_buffer: Size = bound(
        5_000_000,
        description="Unprocessed bytes at which a session is ended.",
        counter="sessions_closed",
        label="receive-buffer",
        refuses=("receive-buffer",),
    )
    receive_buffers_total: Size = bound(
        32_000_000,
        description="Unprocessed bytes of all sessions; over it the worst is ended.",
        counter="receive_buffers_shed",
        refuses=("half-messages",),
    )
    send_buffer: Size = bound(
        1_000_000, description="Unsent bytes of one session before reading from it pauses.", counter="send_pauses"
    )
    send_buffer_max: Size = bound(
        12_000_000,
        description="Unsent bytes at which a session that does not read is ended.",
        counter="sessions_closed",
        label="does-not-read",
        refuses=("does-not-read",),
    )
    send_buffers_total: Size = bound(
        64_000_000,
        description="Unsent bytes of all sessions; over it the worst is ended.",
        counter="send_buffers_shed",
        refuses=("does-not-read",),
    )
    messages_per_second: float = bound(
        500.0, gt=0, description="Messages a session may send in the long run.", counter="over_budget"
    )
    messages_burst: float = bound(
        5_000.0, gt=0, description="Messages a session may send at once.", counter="over_budget"
    )
    bytes_per_second: Size = bound(
        10_000_000, description="Bytes a session may send in the long run.", counter="over_budget"
    )
    bytes_burst: Size = bound(50_000_000, description="Bytes a session may send at once.", counter="over_budget")
    excess_time: Duration = bound(
        60.0,
        description="Over budget without a break for this long is a fact against a peer.",
        counter="facts",
        label="excess",
        refuses=("excess",),
    )
    accepts_per_second: float = bound(
        50.0,
        gt=0,
        description="Inbound connections taken in the long run, of all.",
        counter="refusals",
        label="accept-rate",
        refuses=("accept-rate",),
    )
    accepts_burst: float = bound(
        200.0,
        gt=0,
        description="Inbound connections taken at once, of all.",
        counter="refusals",
        label="accept-rate",
        refuses=("accept-rate",),
    )
    netgroup_accepts_per_second: float = bound(
        2.0,
        gt=0,
        description="The same for one netgroup.",
        counter="refusals",
        label="netgroup-rate",
        refuses=("netgroup-rate",),
    )
    netgroup_accepts_burst: float = bound(
        32.0,
        gt=0,
        description="The same at once for one netgroup.",
        counter="refusals",
        label="netgroup-rate",
        refuses=("netgroup-rate",),
    )
    netgroups: int = bound(
        4096, ge=16, description="Netgroups whose rate is remembered.", counter="netgroups_forgotten", fills=True
    )
    datagrams_per_second: float = bound(
        20_000.0,
        gt=0,
        description="Datagrams taken in the long run, of all.",
        counter="datagrams_dropped",
        label="rate",
    )
    datagrams_burst: float = bound(
        40_000.0, gt=0, description="Datagrams taken at once, of all.", counter="datagrams_dropped", label="rate"
    )
    netgroup_datagrams_per_second: float = bound(
        200.0, gt=0, description="The same for one netgroup.", counter="datagrams_dropped", label="netgroup-rate"
    )
    netgroup_datagrams_burst: float = bound(
        1_000.0,
        gt=0,
        description="The same at once for one netgroup.",
        counter="datagrams_dropped",
        label="netgroup-rate",
    )
    visits: int = bound(
        32,
        ge=1,
        description="Calls on peers (crawlers, checks of addresses) at once.",
        counter="visits",
        label="refused",
    )
    handshakes: int = bound(
        64,
        ge=1,
        description="Inbound sessions that may be in the handshake at once.",
        counter="handshakes_evicted",
        refuses=("handshakes", "handshake-evicted"),
    )
    connect_timeout: Duration = bound(
        5.0, description="A dial that has not connected by then has failed.", counter="dials", label="timeout"
    )
    handshake_timeout: Duration = bound(
        60.0,
        description="From connected to open.",
        counter="sessions_closed",
        label="handshake-timeout",
        refuses=("handshake-timeout",),
    )
    close_timeout: Duration = bound(
        5.0,
        description="How long a closing session may take to send what is queued.",
        counter="closes_cut_short",
        refuses=("close-timeout",),
    )
    idle_timeout: Duration = bound(
        1_200.0,
        description="Nothing received, or nothing taken, for this long ends a session.",
        counter="sessions_closed",
        label="idle",
        refuses=("idle", "does-not-read"),
    )
    tick: Duration = live(2.0, gt=0, description="How often sessions look at their timers.")
    dial_interval: Duration = live(0.5, gt=0, description="How often free slots are looked at.")
    dial_concurrency: int = bound(8, ge=1, description="Dials under way at once.", counter="")
    dials_per_netgroup: int = bound(
        2, ge=1, description="Automatic dials under way at once to one netgroup.", counter=""
    )
    retry_interval: Duration = bound(
        600.0, description="An address tried less than this ago is not drawn again.", counter=""
    )
    manual_retry: Duration = bound(
        60.0, description="The longest wait before a manual peer is dialled again.", counter=""
    )
    manual_retry_first: Duration = bound(1.0, description="The first wait; it doubles with each failure.", counter="")
    draws: int = bound(100, ge=1, description="Addresses looked at for one free slot, each time.", counter="")
    addresses_per_second: float = bound(
        0.1,
        gt=0,
        description="Told addresses taken from one session in the long run.",
        counter="told_addresses",
        label="over-rate",
    )
    addresses_burst: float = bound(
        1_000.0,
        ge=1,
        description="Told addresses taken from one session at once.",
        counter="told_addresses",
        label="over-rate",
    )
    discovery_timeout: Duration = bound(60.0, description="One look of a discovery plugin.", counter="discovery_errors")
    discovery_addresses: int = bound(
        1_000, ge=1, description="Addresses taken from one look of a discovery plugin.", counter="discovery_left_out"
    )
    wanted_items: int = bound(
        default=50_000,
        ge=1000,
        description="Items of one topic that are wanted of peers at once.",
        counter="scheduler_announcements_refused",
        label="items",
        live=False,
    )
    validations: int = bound(
        256,
        ge=1,
        description="Items whose validation may be under way at once.",
        counter="items",
        label="too-many-validations",
    )
    validation_timeout: Duration = bound(
        60.0,
        gt=0,
        description="A validation that has not ended by then is given up.",
        counter="items",
        label="timed-out",
    )
    waiting_items: int = bound(
        100,
        ge=1,
        description="Items kept while what they wait for is fetched.",
        counter="items",
        label="waiting-dropped",
    )
    untold_items: int = bound(
        1_000,
        ge=1,
        description="Items of our own that wait to be told of while there is no session.",
        counter="items",
        label="untold",
    )
    rejected_items: int = bound(50_000, ge=100, description="Rejected ids remembered.", counter="", fills=True)
    spreads: int = bound(1_000, ge=1, description="Items whose spread is measured, the latest.", counter="", fills=True)
    spread_peers: int = bound(
        200,
        ge=1,
        description="Peers of one item of which is kept when they told of it, or were told.",
        counter="spread_left_out",
        fills=True,
        label="peers",
    )
    spread_sessions: int = bound(
        2_000,
        ge=0,
        description="Ended sessions whose addresses are kept for the items that they had to do with.",
        counter="spread_left_out",
        fills=True,
        label="sessions",
    )
    score_interval: Duration = live(10.0, gt=0, description="How often scorers sample each session.")
    story_points: int = bound(
        100,
        ge=10,
        description="Samples of a session's score that are kept, the older ones further apart.",
        counter="story_forgotten",
        fills=True,
        label="score",
    )
    story_facts: int = bound(
        20,
        ge=1,
        description="Facts about one session's peer that are kept, the latest.",
        counter="story_forgotten",
        fills=True,
        label="fact",
    )
    story_sessions: int = bound(
        100,
        ge=4,
        description="Ended sessions whose story is kept, the latest; at most a quarter of them never opened.",
        counter="story_forgotten",
        fills=True,
        label="session",
    )
    book_new_buckets: int = bound(
        1024,
        ge=1,
        description="Buckets of 64 for addresses never connected to.",
        counter="book_evicted",
        fills=True,
        label="new",
    )
    book_tried_buckets: int = bound(
        256,
        ge=1,
        description="Buckets of 64 for addresses that worked.",
        counter="book_evicted",
        fills=True,
        label="tried",
    )
    source_share: int = bound(
        50,
        ge=1,
        le=100,
        description="Percent of the places for addresses never connected to that one source may fill: a discovery "
        "plugin, or the peers of one netgroup.",
        counter="book_turned_away",
        label="source-share",
    )
    book_buckets: bool = live(
        True,
        description="Off: one plain table of that size in all, where whoever comes replaces whoever stands there. Only "
        "to see in experiments what the buckets are worth.",
    )


@dataclass(frozen=True)
class PluginChoice:
    """One plugin as the config names it: its class, its checked config, and where each came from.

    `origin` is the package or file of the class; `where` is `file:line:column` of the choice.
    """

    spec: PluginSpec
    cls: type[Any]
    config: PluginConfig = field(repr=False)
    origin: str = ""
    where: str = ""
    network: str | None = None
    """For a choice that asks a service of another network (`{plugin: dht, network: mainline}`), its name."""

    @property
    def label(self) -> str:
        """Kind and name: `relay.inventory`."""
        return f"{self.spec.kind}.{self.spec.name}"


@dataclass(frozen=True)
class NetworkSpec:
    """One entry of `networks:`; what the file left out has been filled with the defaults."""

    name: str
    protocol: PluginChoice
    transports: tuple[PluginChoice, ...] = ()
    upgrades: tuple[PluginChoice, ...] = ()
    discovery: tuple[PluginChoice, ...] = ()
    topology: PluginChoice | None = None
    relay: PluginChoice | None = None
    scoring: tuple[PluginChoice, ...] = ()
    authentication: tuple[PluginChoice, ...] = ()
    validators: tuple[PluginChoice, ...] = ()
    item_stores: Mapping[str, PluginChoice] = field(default_factory=dict)
    """By topic: a store in place of the protocol's own."""
    limits: Limits = field(default_factory=Limits, repr=False)


@dataclass(frozen=True)
class NodeSpec:
    """A whole configuration, checked. `effective` is all of it as plain data with secrets as `***`."""

    path: Path | None
    node: NodeSettings = field(repr=False)
    storage: PluginChoice
    networks: Mapping[str, NetworkSpec]
    applications: tuple[PluginChoice, ...] = ()
    effective: Mapping[str, object] = field(default_factory=dict)
