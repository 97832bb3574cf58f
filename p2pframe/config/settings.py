"""What a configuration file comes to: the node's own settings, each network's limits, and the plugins chosen.

The models here are core's own part of the YAML; every plugin brings its own model for its part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from p2pframe.plugin import Duration, PluginConfig, PluginSpec, Size, live


class NodeSettings(PluginConfig):
    """The `node:` part: what belongs to the process and its data directory."""

    data_dir: Path = Field(Path("node-data"), description="Everything the node keeps; relative to the config file.")
    plugin_path: tuple[Path, ...] = Field(
        (), description="Folders of drop-in plugin files; relative to the config file."
    )
    events: int = live(10_000, ge=100, le=1_000_000, description="How many past events are kept to explain decisions.")
    stop_timeout: Duration = live(10.0, description="How long applications and networks may take to stop.")
    work_threads: int = Field(4, ge=1, le=64, description="Threads for work that must leave the reactor.")
    work_queue: int = Field(10_000, ge=10, description="Jobs that may wait for a thread.")
    bans: int = live(100_000, ge=1, description="Entries of the ban list at most.")
    discouraged: int = live(
        50_000, ge=1, description="Discouraged peers remembered, in memory, oldest forgotten first."
    )
    ban_time: Duration = live(86_400.0, description="How long an automatic ban lasts.")
    discourage_loopback: bool = live(
        False, description="Let discouragement and automatic bans apply to loopback too (tests)."
    )
    watchdog: Duration = Field(
        0.5, description="Name the plugin that blocks the reactor for longer than this; 0 is off."
    )
    log_level: Literal["debug", "info", "warn", "error", "critical"] = live(
        "info", description="The least level logged."
    )
    log_file: Path | None = Field(
        None, description="Where to log; where left out: stdout, as a daemon node.log in data_dir."
    )
    log_size: Size = Field(10_000_000, ge=10_000, description="Bytes of a log file before the next one is begun.")
    log_files: int = Field(5, ge=1, le=1000, description="Older log files kept.")
    log_json: bool = Field(False, description="Log one JSON object a line instead of lines for people.")
    log_rate: int = live(
        20, ge=1, description="Like log lines (same format) a second before the rest are only counted."
    )


class Limits(PluginConfig):
    """The `limits:` part of a network: every bound that core holds for it."""

    receive_buffer: Size = live(5_000_000, description="Unprocessed bytes at which a session is ended.")
    receive_buffers_total: Size = live(
        32_000_000, description="Unprocessed bytes of all sessions; over it the worst is ended."
    )
    send_buffer: Size = live(1_000_000, description="Unsent bytes of one session before reading from it pauses.")
    send_buffer_max: Size = live(12_000_000, description="Unsent bytes at which a session that does not read is ended.")
    send_buffers_total: Size = live(64_000_000, description="Unsent bytes of all sessions; over it the worst is ended.")
    messages_per_second: float = live(500.0, gt=0, description="Messages a session may send in the long run.")
    messages_burst: float = live(5_000.0, gt=0, description="Messages a session may send at once.")
    bytes_per_second: Size = live(10_000_000, description="Bytes a session may send in the long run.")
    bytes_burst: Size = live(50_000_000, description="Bytes a session may send at once.")
    excess_time: Duration = live(
        60.0, description="Over budget without a break for this long is a fact against a peer."
    )
    accepts_per_second: float = live(50.0, gt=0, description="Inbound connections taken in the long run, of all.")
    accepts_burst: float = live(200.0, gt=0, description="Inbound connections taken at once, of all.")
    netgroup_accepts_per_second: float = live(2.0, gt=0, description="The same for one netgroup.")
    netgroup_accepts_burst: float = live(32.0, gt=0, description="The same at once for one netgroup.")
    netgroups: int = live(4096, ge=16, description="Netgroups whose rate is remembered.")
    datagrams_per_second: float = live(20_000.0, gt=0, description="Datagrams taken in the long run, of all.")
    datagrams_burst: float = live(40_000.0, gt=0, description="Datagrams taken at once, of all.")
    netgroup_datagrams_per_second: float = live(200.0, gt=0, description="The same for one netgroup.")
    netgroup_datagrams_burst: float = live(1_000.0, gt=0, description="The same at once for one netgroup.")
    visits: int = live(32, ge=1, description="Calls on peers (crawlers, checks of addresses) at once.")
    handshakes: int = live(64, ge=1, description="Inbound sessions that may be in the handshake at once.")
    connect_timeout: Duration = live(5.0, description="A dial that has not connected by then has failed.")
    handshake_timeout: Duration = live(60.0, description="From connected to open.")
    close_timeout: Duration = live(5.0, description="How long a closing session may take to send what is queued.")
    idle_timeout: Duration = live(
        1_200.0, description="Nothing received, or nothing taken, for this long ends a session."
    )
    tick: Duration = live(2.0, gt=0, description="How often sessions look at their timers.")
    dial_interval: Duration = live(0.5, gt=0, description="How often free slots are looked at.")
    dial_concurrency: int = live(8, ge=1, description="Dials under way at once.")
    dials_per_netgroup: int = live(2, ge=1, description="Automatic dials under way at once to one netgroup.")
    retry_interval: Duration = live(600.0, description="An address tried less than this ago is not drawn again.")
    manual_retry: Duration = live(60.0, description="The longest wait before a manual peer is dialled again.")
    manual_retry_first: Duration = live(1.0, description="The first wait; it doubles with each failure.")
    draws: int = live(100, ge=1, description="Addresses looked at for one free slot, each time.")
    addresses_per_second: float = live(0.1, gt=0, description="Told addresses taken from one session in the long run.")
    addresses_burst: float = live(1_000.0, ge=1, description="Told addresses taken from one session at once.")
    discovery_timeout: Duration = live(60.0, description="One look of a discovery plugin.")
    discovery_addresses: int = live(1_000, ge=1, description="Addresses taken from one look of a discovery plugin.")
    wanted_items: int = Field(
        default=50_000, ge=1000, description="Items of one topic that are wanted of peers at once."
    )
    validations: int = live(256, ge=1, description="Items whose validation may be under way at once.")
    validation_timeout: Duration = live(60.0, gt=0, description="A validation that has not ended by then is given up.")
    waiting_items: int = live(100, ge=1, description="Items kept while what they wait for is fetched.")
    untold_items: int = live(
        1_000, ge=1, description="Items of our own that wait to be told of while there is no session."
    )
    rejected_items: int = live(50_000, ge=100, description="Rejected ids remembered.")
    spreads: int = live(1_000, ge=1, description="Items whose spread is measured, the latest.")
    score_interval: Duration = live(10.0, gt=0, description="How often scorers sample each session.")
    book_new_buckets: int = live(1024, ge=1, description="Buckets of 64 for addresses never connected to.")
    book_tried_buckets: int = live(256, ge=1, description="Buckets of 64 for addresses that worked.")
    source_share: int = live(
        50,
        ge=1,
        le=100,
        description="Percent of the places for addresses never connected to that one source may fill: a discovery "
        "plugin, or the peers of one netgroup.",
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
