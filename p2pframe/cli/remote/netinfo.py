"""`p2pframe netinfo`: connections at a glance, after bitcoin-cli's -netinfo. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from p2pframe.admin.values import Node, Peer
from p2pframe.cli.remote.show import printable
from p2pframe.model import PeerAddress

KINDS = ("ipv4", "ipv6", "onion", "i2p")
_TYPES = {"inbound": "", "outbound": "full", "block_relay": "block", "feeler": "feel", "manual": "manual"}
HELP = """\
<->     who opened the connection: in is the peer, out is this node
type    of a dialled one: full, block (blocks only), feel (a short look), manual (named by you)
net     ipv4, ipv6, onion, i2p, or name where only a host name is known
serv    services: n NETWORK, l NETWORK_LIMITED, w WITNESS, b BLOOM, c COMPACT_FILTERS, 2 P2P_V2, else ?
v       transport, and what encrypts it
mping   best round trip, ms; ping: the latest
send    s since this node last sent; recv: since the peer did
item    min since the peer last brought something useful; blk: a block
queue   bytes that wait to be sent to it
age     min that the connection lasts
id      for `p2pframe peer` and `disconnect`; address from level 2, software at 3 and 4
"""


def kind(address: str) -> str:
    """The column that an address counts in."""
    try:
        parsed = PeerAddress.parse(address, 0)
    except ValueError:
        return "name"
    return parsed.kind if parsed.ip is None else f"ipv{parsed.ip.version}"


def netinfo(node: Node, peers: Sequence[Peer], level: int = 0) -> str:
    """The lines: at 1 and more each peer (2: addresses, 3: software, 4: both), then for each network the matrix."""
    return "\n".join(_lines(node, peers, level)) + "\n"


def _lines(node: Node, peers: Sequence[Peer], level: int) -> Iterator[str]:
    yield f"p2pframe {printable(node.version)}"
    for network in node.networks:
        own = [peer for peer in peers if peer.network == network.name]
        yield ""
        yield f"{printable(network.name)} ({printable(network.protocol)})"
        if level > 0 and own:
            yield ""
            yield from _table(_peers(own, level))
        yield ""
        yield from _table(_matrix(own))
        yield ""
        yield "Listening: " + (", ".join(map(printable, network.listening)) or "nowhere")


def _matrix(peers: Sequence[Peer]) -> list[list[str]]:
    kinds = [*KINDS, *(["name"] if any(kind(peer.address) == "name" for peer in peers) else [])]
    rows = [["", *kinds, "total", "block", "manual"]]
    for title, chosen in (
        ("in", [peer for peer in peers if peer.inbound]),
        ("out", [peer for peer in peers if not peer.inbound]),
        ("total", list(peers)),
    ):
        counted = [sum(kind(peer.address) == one for peer in chosen) for one in kinds]
        slots = [sum(peer.slot == slot for peer in chosen) for slot in ("block_relay", "manual")]
        rows.append([title, *map(str, [*counted, len(chosen), *slots])])
    return rows


def _peers(peers: Sequence[Peer], level: int) -> list[list[str]]:
    head = ["<->", "type", "net", "serv", "v", "mping", "ping", "send", "recv", "item", "blk", "queue", "age", "id"]
    rows = [head + ["address"] * (level in (2, 4)) + ["version"] * (level in (3, 4))]
    for peer in sorted(peers, key=lambda one: (not one.inbound, one.best_ping is None, one.best_ping or 0.0, one.id)):
        row = [
            "in" if peer.inbound else "out", _TYPES.get(peer.slot, printable(peer.slot)), kind(peer.address),
            "".join(sorted(_letter(name) for name in peer.services)),
            printable("+".join(filter(None, (peer.transport, peer.encryption)))),
            _number(peer.best_ping, 1000), _number(peer.ping, 1000), _number(peer.sent), _number(peer.quiet),
            _number(peer.useless, 1 / 60), _number(peer.block, 1 / 60), str(peer.send_queue or ""),
            _number(peer.age, 1 / 60), str(peer.id),
        ]  # fmt: skip
        row += [printable(peer.address)] * (level in (2, 4))
        row += [printable(" ".join(filter(None, (str(peer.version or ""), peer.agent))))] * (level in (3, 4))
        rows.append(row)
    return rows


def _letter(service: str) -> str:
    known = {"NETWORK": "n", "NETWORK_LIMITED": "l", "WITNESS": "w", "BLOOM": "b", "COMPACT_FILTERS": "c",
             "P2P_V2": "2"}  # fmt: skip
    return known.get(service, "?")


def _number(value: float | None, times: float = 1.0) -> str:
    return "" if value is None else str(int(max(0.0, value) * times))


_LEFT = ("<->", "type", "serv", "v", "address", "version")


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    left = [title in _LEFT or number == 0 for number, title in enumerate(rows[0])]
    for row in rows:
        cells = (
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(row, widths, left, strict=True)
        )
        yield "  ".join(cells).rstrip()
