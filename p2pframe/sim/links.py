"""Links: when what one host sends reaches another, and whether it does.

A path is one direction between two hosts. Its latency is drawn once for the pair, equal both ways where the scenario
says nothing else; jitter, loss and the rest are drawn from a stream of chance that is the path's own, so that the
traffic of one pair changes nothing for another. Streams lose nothing: a lost segment comes later, after the
retransmissions that TCP needs (RFC 6298). Datagrams are lost, doubled and overtaken.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import ceil, log
from random import Random
from typing import Protocol

from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from p2pframe.plugin import Duration, Field, PluginConfig, Size
from p2pframe.sim.chance import stream
from p2pframe.sim.distributions import SHAPES, Sampler, Times

LOOPBACK = 25e-6
"""Seconds, one way, from a host to itself."""

MAX_RETRANSMISSIONS = 15
"""After so many a segment is through. Linux gives the connection up there (tcp_retries2), which no link decides."""

_TCP_HEADERS = 40
_IP_HEADER = 20
_UDP_HEADER = 8


class LinkConfig(PluginConfig):
    """A link between two hosts, one way: a latency alone, or a mapping of these."""

    latency: Times = Field(default=Times(fixed=0.05), description="One way; drawn once for each pair of hosts.")
    jitter: Times = Field(default=Times(fixed=0.0), description="Added to it; drawn for each segment or datagram.")
    bandwidth: Size = Field(default=0, description="Bytes per second of the path; 0 is without limit.")
    queue: Size = Field(
        default=262144, description="Bytes that wait for it; datagrams beyond are dropped. 0: any number."
    )
    loss: float = Field(default=0.0, ge=0, lt=1, description="Share of packets lost; a stream's are late.")
    retransmit: Duration = Field(default=0.25, description="A stream's lost packet is sent again after this; doubles.")
    duplicate: float = Field(default=0.0, ge=0, le=1, description="Share of datagrams that arrive twice.")
    reorder: float = Field(default=0.0, ge=0, le=1, description="Share of datagrams held back, to be overtaken.")
    reorder_delay: Duration = Field(default=0.05, description="How long those are held back.")
    segment: bool = Field(default=False, description="Whether what a stream carries is cut at random places.")
    mtu: int = Field(default=1500, ge=68, le=65535, description="Bytes of a packet; larger datagrams are fragmented.")

    @model_validator(mode="before")
    @classmethod
    def _latency_alone(cls, value: object) -> object:
        if isinstance(value, LinkConfig):
            return value
        if not isinstance(value, Mapping) or (value and all(key in SHAPES for key in value)):
            return {"latency": value}
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [made["properties"]["latency"], made], "title": cls.__name__}

    def over(self, base: LinkConfig) -> LinkConfig:
        """This link, and `base` wherever this one says nothing."""
        return base.model_copy(update={name: getattr(self, name) for name in sorted(self.model_fields_set)})


class LinksConfig(PluginConfig):
    """The links of a scenario. What a pair of regions leaves out is as in `default`."""

    default: LinkConfig = Field(default=LinkConfig(), description="Every link that no pair of regions names.")
    regions: Mapping[str, Mapping[str, LinkConfig]] = Field(
        default={}, description="From region to region: a link, or its latency. The way back is equal where left out."
    )


class End(Protocol):
    """What a link knows of a host."""

    @property
    def name(self) -> str:
        """Unique in the simulation."""

    @property
    def region(self) -> str:
        """A region of `LinksConfig.regions`, or any other text."""


class Path:
    """One way from one host to another. Times are virtual seconds.

    `plain` says that a stream's bytes take `latency` and nothing else; `free_at` is when the bandwidth has sent all
    that waits; `lost` and `dropped` count datagrams that the link lost and that found the queue full.
    """

    __slots__ = (
        "_labels",
        "_plain_datagrams",
        "_rng",
        "bandwidth",
        "dropped",
        "duplicate",
        "free_at",
        "jitter",
        "latency",
        "loss",
        "lost",
        "mtu",
        "plain",
        "queue",
        "reorder",
        "reorder_delay",
        "retransmit",
        "segment",
    )

    def __init__(self, config: LinkConfig, latency: float, *labels: object) -> None:
        """`labels` name the path's own stream of chance, the seed first."""
        self.latency = latency
        self.jitter: Sampler | None = None if config.jitter.constant == 0 else config.jitter.sampler
        self.bandwidth = config.bandwidth
        self.queue = config.queue
        self.loss = config.loss
        self.retransmit = config.retransmit
        self.duplicate = config.duplicate
        self.reorder = config.reorder
        self.reorder_delay = config.reorder_delay
        self.segment = config.segment
        self.mtu = config.mtu
        self.free_at = 0.0
        self.lost = 0
        self.dropped = 0
        steady = self.jitter is None and not self.loss and not self.bandwidth
        self.plain = steady and not self.segment
        self._plain_datagrams = steady and not self.duplicate and not self.reorder
        self._labels = labels
        self._rng: Random | None = None

    def become(self, other: Path) -> None:
        """Behave as another path from now on, with what waits, what was counted and the chance of this one."""
        for name in _CHARACTER:
            setattr(self, name, getattr(other, name))

    @property
    def rng(self) -> Random:
        """The path's own chance, made when first needed: it takes 2500 bytes, and most paths never draw."""
        if self._rng is None:
            self._rng = stream(*self._labels)
        return self._rng

    def stream_arrival(self, now: float, size: int) -> float:
        """When `size` bytes of a stream, sent now, are there.

        With jitter or loss that may be before what was sent earlier: the stream itself keeps its order.

        They wait until the bandwidth has sent what came before, however much that is: TCP slows down instead of losing.
        What was lost on the way has been sent again, after `retransmit` seconds, then twice as many, and so on.
        """
        arrival = now + self.latency
        if not self.plain:
            if self.bandwidth:
                arrival += self._sent(now, size) - now
            if self.jitter is not None:
                arrival += self.jitter(self.rng)
            if self.loss:
                arrival += self._retransmissions(size)
        return arrival

    def datagram_arrivals(self, now: float, size: int) -> list[float]:
        """When a datagram of `size` bytes, sent now, arrives: never (lost, or the queue is full), once, or twice."""
        if self._plain_datagrams:
            return [now + self.latency]
        sent = now
        if self.bandwidth:
            waiting = (self.free_at - now) * self.bandwidth
            if self.queue and waiting > 0 and waiting + size > self.queue:
                self.dropped += 1
                return []
            sent = self._sent(now, size)
        rng = self.rng
        if self.loss and rng.random() >= (1.0 - self.loss) ** self._fragments(size):
            self.lost += 1
            return []
        arrivals = [sent + self.latency + (self.jitter(rng) if self.jitter is not None else 0.0)]
        if self.reorder and rng.random() < self.reorder:
            arrivals[0] += self.reorder_delay
        if self.duplicate and rng.random() < self.duplicate:
            arrivals.append(sent + self.latency + (self.jitter(rng) if self.jitter is not None else 0.0))
        return arrivals

    def split(self, data: bytes) -> list[bytes]:
        """The pieces in which a stream's bytes arrive: at most four, cut at random, more often near the start.

        That is where headers are, which a reader that trusts in whole reads takes for whole. One piece where `segment`
        is off.
        """
        size = len(data)
        if not self.segment or size < 2:
            return [data]
        rng = self.rng
        cuts = sorted({1 + int((size - 1) * rng.random() ** 3) for _ in range(rng.randrange(4))})
        edges = [0, *cuts, size]
        return [data[start:end] for start, end in pairwise(edges)]

    def _sent(self, now: float, size: int) -> float:
        start = self.free_at if self.free_at > now else now
        self.free_at = start = start + size / self.bandwidth
        return start

    def _fragments(self, size: int) -> int:
        """Packets that carry a datagram: fragments hold a multiple of 8 bytes (RFC 791 section 3.2)."""
        if size + _UDP_HEADER + _IP_HEADER <= self.mtu:
            return 1
        return ceil((size + _UDP_HEADER) / ((self.mtu - _IP_HEADER) // 8 * 8))

    def _retransmissions(self, size: int) -> float:
        """Seconds until the last of the packets that carry `size` bytes is through.

        Each is lost with probability p at each attempt: all n are through after r attempts with probability
        (1 - p^r)^n, which one draw is held against.
        """
        packets = -(-size // max(1, self.mtu - _TCP_HEADERS)) or 1
        missed = 1.0 - self.rng.random() ** (1.0 / packets)
        if missed <= self.loss ** (MAX_RETRANSMISSIONS + 1):
            again = MAX_RETRANSMISSIONS
        else:
            again = max(0, ceil(log(missed) / log(self.loss)) - 1)
        return self.retransmit * (2.0**again - 1.0)


class Links:
    """Draws the path of each pair of hosts, from the seed and the two names alone: the order of asking is no matter."""

    def __init__(self, config: LinksConfig | None = None, seed: object = 0) -> None:
        self.config = config = config or LinksConfig()
        self._seed = seed
        self._between: dict[tuple[str, str], LinkConfig] = {}
        for source, targets in config.regions.items():
            for target, link in targets.items():
                self._between[source, target] = link.over(config.default)
        for (source, target), link in list(self._between.items()):
            self._between.setdefault((target, source), link)

    def link(self, source: str, target: str) -> LinkConfig:
        """What holds from a region to a region."""
        return self._between.get((source, target), self.config.default)

    def path(self, source: End, target: End, instead: LinkConfig | None = None) -> Path:
        """A new path; whoever asks keeps it, since it remembers what waits.

        `instead` is a link in the place of the usual one, which still holds where that says nothing.
        """
        if source.name == target.name:
            return Path(_TO_ITSELF, LOOPBACK)
        link = self.link(source.region, target.region)
        if instead is not None:
            link = instead.over(link)
        latency = link.latency.constant
        if latency is None:
            # The same stream for both directions: the same latency, or the same luck with different distributions.
            first, second = sorted((source.name, target.name))
            latency = link.latency.draw(stream(self._seed, "latency", first, second))
        return Path(link, latency, self._seed, "path", source.name, target.name)


_TO_ITSELF = LinkConfig()
_CHARACTER = tuple(name for name in Path.__slots__ if name not in ("_labels", "_rng", "dropped", "free_at", "lost"))
