"""Whether the parts of a network fit together: what the protocol says of itself, held against the plugins chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from zope.interface import implementedBy

from p2pframe.config.check import place_of
from p2pframe.config.settings import PluginChoice
from p2pframe.config.tree import HIDDEN, Place, has_secret
from p2pframe.interfaces import SEAMS, IDatagramTransport, ITransport, Use
from p2pframe.model import PeerAddress

if TYPE_CHECKING:
    from p2pframe.config.choices import Made


@dataclass(frozen=True, slots=True)
class Rules:
    """What a protocol's class says of the seams around it."""

    label: str
    seams: Mapping[str, Use]
    topics: Sequence[str]
    verbs: frozenset[str]
    datagrams: bool


def rules_of(cls: type[Any], label: str) -> Rules | str:
    """Read from the class, which is not built for it; a text says what is wrong with the class."""
    seams = getattr(cls, "seams", None)
    verbs = getattr(cls, "verbs", None)
    topics = getattr(cls, "topics", None)
    if not isinstance(seams, Mapping) or any(k not in SEAMS or not isinstance(u, Use) for k, u in seams.items()):
        return f"{label}: its class attribute `seams` must map kinds of plugins to Use"
    if not isinstance(verbs, (set, frozenset)):
        return f"{label}: its class attribute `verbs` must be a frozenset"
    if not isinstance(topics, Mapping):
        return f"{label}: its class attribute `topics` must be a mapping"
    return Rules(label, seams, tuple(topics), frozenset(verbs), bool(getattr(cls, "datagrams", False)))


def misfits(rules: Rules, plugins: Sequence[Made]) -> Iterator[tuple[Place, str, str]]:
    """Which of a network's plugins do not fit its protocol."""
    wanted = IDatagramTransport if rules.datagrams else ITransport
    carries = "datagrams" if rules.datagrams else "streams"
    for one in plugins:
        if one.label.startswith("transport.") and not implementedBy(one.cls).isOrExtends(wanted):
            yield one.tree.place, one.path, f"{rules.label} speaks {carries}, which {one.label} does not carry"
        elif one.label.startswith("relay."):
            needs = [frozenset(need) for need in getattr(one.cls, "needs", ())]
            if needs and not any(need <= rules.verbs for need in needs):
                wants = " or ".join(" + ".join(sorted(need)) for need in needs)
                has = ", ".join(sorted(rules.verbs)) or "no verb at all"
                yield one.tree.place, one.path, f"{one.label} needs the verbs {wants}; {rules.label} offers {has}"


def clashes(made: Sequence[Made]) -> Iterator[tuple[Place, str, str]]:
    """Addresses that are listened on twice in this node; the later of the two is to blame."""
    taken: list[tuple[str, PeerAddress, str]] = []
    for one in made:
        if one.choice is None:
            continue
        kind = "udp" if implementedBy(one.cls).isOrExtends(IDatagramTransport) else "tcp"
        for loc, address in _listening(one.choice):
            path = ".".join([one.path, *(str(part) for part in loc)])
            for other_kind, other, other_path in taken:
                if kind == other_kind and _same(address, other):
                    tree = one.tree.get("listen")
                    shown = HIDDEN if tree is not None and has_secret(tree) else str(address)
                    text = f"{shown} is listened on twice in this node: {other_path} has it already"
                    yield place_of(one.tree, loc), path, text
                    break
            else:
                taken.append((kind, address, path))


def _listening(choice: PluginChoice) -> Iterator[tuple[tuple[str | int, ...], PeerAddress]]:
    """The addresses of a plugin's `listen` option: the one name for it that every plugin uses."""
    listen = getattr(choice.config, "listen", None)
    for index, value in enumerate(listen if isinstance(listen, (tuple, list)) else [listen]):
        loc: tuple[str | int, ...] = ("listen", index) if isinstance(listen, (tuple, list)) else ("listen",)
        if isinstance(value, str):
            try:
                value = PeerAddress.parse(value)
            except ValueError:
                continue
        if isinstance(value, PeerAddress):
            yield loc, value


def _same(one: PeerAddress, other: PeerAddress) -> bool:
    if one.port != other.port or one.port == 0:
        return False
    if one.host == other.host:
        return True
    if one.kind != "ip" or other.kind != "ip":
        return False
    first, second = ip_address(one.host), ip_address(other.host)
    return first.version == second.version and (first.is_unspecified or second.is_unspecified)
