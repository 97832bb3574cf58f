"""The suite of protocols: what they say of themselves, then their conversations or their datagrams.

Options: `items`, a function of a plugin that makes items of its topics, to be announced, asked for and delivered
between two nodes (without it none of that is tried: only a protocol knows what its ids look like); `slot`, the class of
the dialled session (MANUAL); `largest`, bytes of the largest message (4 MiB), which is what a conversation may keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from p2pframe.interfaces import SEAMS, IInspectable, IItemStore, IValidator, TopicRules, Use
from p2pframe.model import PeerAddress
from p2pframe.testing.conformance import inspection, protocol_datagrams, protocol_streams
from p2pframe.testing.conformance.bench import Bench

_ATTRIBUTES = "The first four attributes are read from the class, before it is built, by the config check."
_SEAMS = "whether the protocol uses it. A kind left out is NONE."
_TOPICS = "The topics of its items, with their rules; empty where nothing spreads."
_VERBS = "What its links offer: of announce, request, deliver, push, graft, prune."
_PORT = "The port that an address without one means."
_DIALABLE = "Called before an address enters the book or is dialled (never for manual peers)."
VERBS = frozenset({"announce", "request", "deliver", "push", "graft", "prune"})
_ODD = (
    PeerAddress("0.0.0.0", 0), PeerAddress("255.255.255.255", 65535), PeerAddress("127.0.0.1", 1),
    PeerAddress("10.0.0.1", 8333), PeerAddress("8.8.8.8", 8333), PeerAddress("2001:db8::1", 8333),
    PeerAddress("::", 0), PeerAddress("fe80::1", 1), PeerAddress("peer.example", 8333, "name"),
    PeerAddress("expyuzz4wqqyqhjn.onion", 8333, "onion"), PeerAddress("abc.i2p", 0, "i2p"),
    PeerAddress("unknown", 0, "name"),
)  # fmt: skip


def suite(bench: Bench) -> None:
    """Put a protocol through it. Raises `NonConformance`."""
    _says_what_it_is(bench)
    plugin, _ = bench.make()
    _judges_addresses(bench, plugin)
    _brings_stores_and_validators(bench, plugin)
    (protocol_datagrams if bench.cls.datagrams else protocol_streams).suite(bench)
    if IInspectable.implementedBy(bench.cls):
        inspection.suite(bench)


def _says_what_it_is(bench: Bench) -> None:
    cls = bench.cls
    for name in ("seams", "topics", "verbs", "datagrams"):
        bench.require(hasattr(cls, name), "", _ATTRIBUTES, f"the class has no {name}")
    seams = isinstance(cls.seams, Mapping) and all(k in SEAMS and isinstance(v, Use) for k, v in cls.seams.items())
    bench.require(seams, "seams", _SEAMS, f"it is {cls.seams!r}: the kinds are {', '.join(SEAMS)}")
    topics = isinstance(cls.topics, Mapping) and all(
        isinstance(topic, str) and isinstance(rules, TopicRules) for topic, rules in cls.topics.items()
    )
    bench.require(topics, "topics", _TOPICS, f"it is {cls.topics!r}")
    verbs = isinstance(cls.verbs, frozenset) and cls.verbs <= VERBS
    bench.require(verbs, "verbs", _VERBS, f"it is {cls.verbs!r}")
    bench.require(isinstance(cls.datagrams, bool), "datagrams",
                  "True where it speaks datagrams without sessions", f"it is {cls.datagrams!r}")  # fmt: skip
    plugin, _ = bench.make()
    port = plugin.default_port
    bench.require(type(port) is int and 0 < port < 65536, "default_port", _PORT, f"it is {port!r}")


def _judges_addresses(bench: Bench, plugin: Any) -> None:
    for address in _ODD:
        answer: object = bench.call("dialable", _DIALABLE, plugin.dialable, address)
        bench.require(isinstance(answer, bool), "dialable", _DIALABLE, f"for {address} it answers {answer!r}")
        bench.note(str(address), answer)
    now = "Called now and then."
    stale: object = bench.call("stale", now, plugin.stale)
    bench.require(isinstance(stale, bool), "stale", now, f"it answers {stale!r}")


def _brings_stores_and_validators(bench: Bench, plugin: Any) -> None:
    once = {
        "stores": "Called once after building: the item stores of its topics. A topic without one is not stored.",
        "validators": "Called once after building: the protocol's own validators.",
    }
    for method, interface in (("stores", IItemStore), ("validators", IValidator)):
        found: Any = bench.call(method, once[method], getattr(plugin, method))
        good = isinstance(found, Mapping) and all(topic in bench.cls.topics for topic in found)
        bench.require(good, method, once[method], f"it gives {found!r:.300}")
        for topic, each in found.items():
            try:
                verifyObject(interface, each)
            except Invalid as error:
                bench.require(False, method, once[method], f"that of {topic}: {error}")
