"""Plugins for tests of the config: each has its interface's methods, which do nothing, and options worth checking.

It is also a plugin file: tests put its folder, or a copy, on `plugin_path`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, field_validator
from zope.interface import implementer
from zope.interface.interface import Method

from p2pframe.interfaces import (
    IApplication,
    IAuthenticator,
    IDatagramTransport,
    IDiscovery,
    IItemStore,
    INetworkProtocol,
    IRelayPolicy,
    IScorer,
    IStorage,
    ITopology,
    ITransport,
    IUpgrade,
    IValidator,
    TopicRules,
    Use,
)
from p2pframe.plugin import Address, Duration, PluginConfig, Size, live, plugin


def stub(interface):
    """A class with the methods of an interface."""
    body = {}
    for name, method in interface.namesAndDescriptions(all=True):
        if isinstance(method, Method):
            inner = method.getSignatureString()[1:-1]
            exec(f"def {name}(self{', ' + inner if inner else ''}): return None", body)
    body.pop("__builtins__", None)
    return type("Stub" + interface.__name__, (), body)


class Plain(PluginConfig):
    pass


class TcpConfig(PluginConfig):
    listen: tuple[Address, ...] = Field((), description="Where to listen.")
    backlog: int = Field(50, ge=1, le=1000, description="Connections that may wait.")


@plugin("tcp", config=TcpConfig)
@implementer(ITransport)
class Tcp(stub(ITransport)):
    """Streams over TCP."""

    def __init__(self, config, context):
        self.config = config


@plugin("udp", config=TcpConfig)
@implementer(IDatagramTransport)
class Udp(stub(IDatagramTransport)):
    """Datagrams over UDP."""


class KeyConfig(PluginConfig):
    key: str = Field(min_length=4, description="The shared key.")


@plugin("pre-shared", config=KeyConfig)
@implementer(IUpgrade)
class PreShared(stub(IUpgrade)):
    """A shared key."""


class ChainConfig(PluginConfig):
    chain: Literal["mainnet", "signet", "regtest"] = Field(description="Which chain.")
    prune: Size = live(5_000_000, description="Bytes of blocks kept.")
    checkpoint: Path | None = Field(None, description="A file.")
    agent: str = Field("", max_length=20, pattern="^[a-z/]*$", description="What we are called.")
    renamed: int = Field(1, description="New name.", json_schema_extra={"renamed_from": ["previous"]})


@plugin("chain", config=ChainConfig)
@implementer(INetworkProtocol)
class Chain(stub(INetworkProtocol)):
    """A chain of blocks."""

    seams = {
        "transport": Use.REQUIRED,
        "upgrade": Use.OPTIONAL,
        "discovery": Use.OPTIONAL,
        "topology": Use.OPTIONAL,
        "relay": Use.OPTIONAL,
        "scoring": Use.OPTIONAL,
        "authentication": Use.OPTIONAL,
        "validator": Use.OPTIONAL,
        "item-store": Use.OPTIONAL,
    }
    topics = {"tx": TopicRules(), "block": TopicRules(urgent=True)}
    verbs = frozenset({"announce", "request", "deliver"})
    datagrams = False


@plugin("lookup", config=Plain)
@implementer(INetworkProtocol)
class Lookup(stub(INetworkProtocol)):
    """Datagrams, and nothing that spreads."""

    seams = {"transport": Use.REQUIRED, "discovery": Use.REQUIRED}
    topics = {}
    verbs = frozenset()
    datagrams = True


class StaticConfig(PluginConfig):
    peers: tuple[Address, ...] = Field((), max_length=3, description="Peers.")
    interval: Duration = live(30.0, description="How long to wait.")


@plugin("static", config=StaticConfig)
@implementer(IDiscovery)
class Static(stub(IDiscovery)):
    """Peers by name."""


class Seed(BaseModel, frozen=True, extra="forbid"):
    host: str
    weight: float = Field(1.0, gt=0)


class SeedsConfig(PluginConfig):
    seeds: tuple[Seed, ...] = Field((), description="Seeds.")
    files: dict[str, Path] = Field({}, description="Files by name.")

    @field_validator("seeds")
    @classmethod
    def distinct(cls, seeds):
        hosts = [seed.host for seed in seeds]
        if len(set(hosts)) < len(hosts):
            raise ValueError(f"seeds are named twice: {hosts}")
        return seeds


@plugin("seeds", config=SeedsConfig)
@implementer(IDiscovery)
class Seeds(stub(IDiscovery)):
    """Peers by seeds."""


class RandomConfig(PluginConfig):
    outbound: int = live(8, ge=0, le=100, description="Outbound slots.")
    inbound: int = Field(114, ge=0, description="Inbound slots.")


@plugin("random", config=RandomConfig)
@implementer(ITopology)
class Random(stub(ITopology)):
    """Unstructured."""


@plugin("inventory", config=Plain)
@implementer(IRelayPolicy)
class Inventory(stub(IRelayPolicy)):
    """By id."""

    needs = (frozenset({"announce", "request"}),)


class LazyConfig(PluginConfig):
    delay: Duration | None = live(None, description="How long to hold back.")


@plugin("lazy", config=LazyConfig)
@implementer(IRelayPolicy)
class Lazy(stub(IRelayPolicy)):
    """Later."""

    needs = (frozenset({"announce"}), frozenset({"push"}))


@plugin("mesh", config=Plain)
@implementer(IRelayPolicy)
class Mesh(stub(IRelayPolicy)):
    """In a mesh."""

    needs = (frozenset({"push", "graft", "prune"}),)


@plugin("weighted", config=Plain)
@implementer(IScorer)
class Weighted(stub(IScorer)):
    """By activity."""


class BehaviourConfig(PluginConfig):
    dry_run: bool = Field(False, description="Only look.")
    ban: float = live(100.0, gt=0, description="Points for a ban.")


@plugin("behaviour", config=BehaviourConfig)
@implementer(IScorer)
class Behaviour(stub(IScorer)):
    """By facts."""


class VersionConfig(PluginConfig):
    minimum: int = Field(0, ge=0, description="The least version.")
    services: frozenset[Literal["NETWORK", "WITNESS"]] = Field(frozenset(), description="Required ones.")


@plugin("version", config=VersionConfig)
@implementer(IAuthenticator)
class Version(stub(IAuthenticator)):
    """By version."""


@plugin("size", config=Plain)
@implementer(IValidator)
class ItemSize(stub(IValidator)):
    """By size."""


@plugin("forgetful", config=Plain)
@implementer(IItemStore)
class Forgetful(stub(IItemStore)):
    """Holds nothing."""


class SqliteConfig(PluginConfig):
    file: Path = Field(Path("node.db"), description="The file.")


@plugin("sqlite", config=SqliteConfig)
@implementer(IStorage)
class Sqlite(stub(IStorage)):
    """In a file."""


class MinerConfig(PluginConfig):
    network: str = Field(description="Which network.")
    interval: Duration = live(5.0, gt=0, description="How long a block takes.")
    listen: Address | None = Field(None, description="A page.")
    password: str | None = Field(None, min_length=8, description="For the page.")


@plugin("miner", config=MinerConfig)
@implementer(IApplication)
class Miner(stub(IApplication)):
    """Makes blocks."""
