"""The picture that `p2pframe top` draws: lines that fit a width and a height, whatever peers say of themselves. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from p2pframe.admin.values import Network, Peer
from p2pframe.admin.words import amount
from p2pframe.cli.remote.samples import Rate, Rates, Sample, ordered
from p2pframe.cli.remote.show import event_line, lasting, moment, printable

EVENTS = 10
"""Events that are shown at most."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn. `failed` says why the node has not answered for `since` seconds; the sample is older then."""

    url: str
    sample: Sample
    rates: Rates
    sort: str
    backwards: bool = False
    failed: str = ""
    since: float = 0.0
    keys: bool = False


@dataclass(frozen=True, slots=True)
class _Column:
    """Of a table: what is less `wanted` goes first where there is no room."""

    title: str
    cells: Sequence[str]
    wanted: int = 0
    right: bool = True
    style: str = ""


def lines(picture: Picture, width: int, height: int | None = None) -> list[Text]:
    """The picture; without a height all of it. Each line is at most `width` cells, and there are at most `height`."""
    above = [*_verdict(picture), Text(), *_networks(picture, width)]
    below = [] if not picture.keys else [Text(f"q ends  s sorts by another ({picture.sort})  r turns it round", "dim")]
    happened = [Text(printable(event_line(one))) for one in picture.sample.events[-EVENTS:]]
    if height is not None:
        # The peers have what the rest leaves; it leaves them the better half of what there is.
        above = above[: max(1, height // 2)]
        room = max(0, height - len(above) - len(below))
        happened = happened[len(happened) - min(len(happened), max(0, room // 3 - 2)) :]
        room -= len(happened) + 2 if happened else 0
        middle = [Text(), *_peers(picture, width, max(0, room - 3))][:room]
    else:
        middle = [Text(), *_peers(picture, width, None)]
    if happened:
        middle += [Text(), Text("latest events", "bold"), *happened]
    if height is not None:
        middle += [Text()] * (height - len(above) - len(middle) - len(below))
    whole = [*above, *middle, *below][:height]
    for line in whole:
        line.no_wrap = True
        line.truncate(max(1, width), overflow="ellipsis")
    return whole


def _verdict(picture: Picture) -> list[Text]:
    node = picture.sample.node
    about = f"p2pframe {node.version} at {picture.url}, up for {lasting(node.uptime)}, {moment(node.now)}"
    found = [Text(printable(about))]
    if picture.failed:
        since = f"no answer for {lasting(picture.since)}, and what stands here is from before: "
        found.append(Text(printable(since + picture.failed), "bold red"))
    if node.healthy:
        found.append(Text("healthy", "dim" if picture.failed else "bold green"))
    else:
        reasons = node.reasons or ["it says not why"]
        found += [Text(printable(f"not healthy: {reason}"), "bold red") for reason in reasons]
    lesser = [one for one in node.alerts if not one.critical]
    return found + [Text(printable(f"look at: {one.text} {one.runbook}"), "yellow") for one in lesser]


def _networks(picture: Picture, width: int) -> list[Text]:
    networks = picture.sample.node.networks
    if not networks:
        return [Text("no networks")]
    peers = picture.sample.peers
    rates = [picture.rates.networks.get(one.name) for one in networks]
    columns = [
        _Column("network", [one.name for one in networks], 100, right=False),
        _Column("in/s", [_rate(one, 0) for one in rates], 99),
        _Column("out/s", [_rate(one, 1) for one in rates], 99),
        _Column("peers", [str(sum(peer.network == one.name for peer in peers)) for one in networks], 98),
    ]
    slots = list(dict.fromkeys(name for one in networks for name in one.slots))
    columns += [
        _Column(name.replace("_", " "), [_slot(one, name) for one in networks], 90 - number)
        for number, name in enumerate(slots)
    ]
    return _table(columns, width)


def _slot(network: Network, name: str) -> str:
    use = network.slots.get(name)
    return "" if use is None else f"{use.used}/{use.allowed}"


def _peers(picture: Picture, width: int, room: int | None) -> list[Text]:
    found = ordered(picture.sample, picture.rates, picture.sort, picture.backwards)
    if not found:
        return [Text("no peers")]
    shown = found if room is None else found[:room]
    order = f"{picture.sort}, the other end first" if picture.backwards else picture.sort
    count = f"{len(found)} peers" if len(shown) == len(found) else f"{len(shown)} of {len(found)} peers"
    heading = Text(f"{count if len(found) > 1 else '1 peer'}, by {order}", "bold")
    rates = [picture.rates.peers.get((one.network, one.id)) for one in shown]
    several = len({one.network for one in found}) > 1

    def column(title: str, cells: Sequence[str], wanted: int, right: bool = True) -> _Column:
        mine = title.removesuffix("/s") == picture.sort
        # What it is sorted by is always to be seen.
        return _Column(title, cells, 97 if mine else wanted, right, "underline" if mine else "")

    columns = [
        column("id", [str(one.id) for one in shown], 95),
        *([column("network", [one.network for one in shown], 60, False)] if several else []),
        column("address", [one.address for one in shown], 100, False),
        column("slot", [one.slot.replace("_", " ") for one in shown], 70, False),
        column("in/s", [_rate(one, 0) for one in rates], 96),
        column("out/s", [_rate(one, 1) for one in rates], 96),
        _Column("in", [amount(one.bytes_in) for one in shown], 50),
        _Column("out", [amount(one.bytes_out) for one in shown], 50),
        column("ping", ["" if one.ping is None else f"{one.ping * 1000:.0f} ms" for one in shown], 90),
        column("age", [lasting(one.age) for one in shown], 80),
        column("score", ["" if one.score is None else f"{one.score:.2f}" for one in shown], 65),
        column("useful", [_ago(one) for one in shown], 63),
        column("agent", [one.agent for one in shown], 55, False),
    ]
    return [heading, *_table(columns, width)]


def _ago(peer: Peer) -> str:
    return "" if peer.useless is None else f"{lasting(peer.useless)} ago"


def _rate(rate: Rate | None, way: int) -> str:
    return "" if rate is None else amount(rate[way])


def _table(columns: Sequence[_Column], width: int) -> list[Text]:
    """A head and rows; the first to be left out is what is wanted least. The last column is cut, the others are not."""
    cells = [[Text(printable(cell)) for cell in (column.title, *column.cells)] for column in columns]
    widths = [max(cell.cell_len for cell in column) for column in cells]
    # A name as long as the line would leave room for nothing else.
    widths = [min(one, 48) for one in widths]
    left = list(range(len(columns)))
    while len(left) > 1 and sum(widths[one] + 2 for one in left) - 2 > width:
        least = min(left, key=lambda one: (columns[one].wanted, one))
        spare = width - sum(widths[one] + 2 for one in left if one != least)
        if least == left[-1] and not columns[least].right and spare >= 8:
            widths[least] = spare
            break
        left.remove(least)
    found = []
    for row in range(len(cells[0])):
        line = Text()
        for one in left:
            cell = cells[one][row]
            cell.truncate(widths[one], overflow="ellipsis")
            gap = " " * (widths[one] - cell.cell_len)
            cell.stylize(f"bold {columns[one].style}" if row == 0 else "")
            line.append("  " if one != left[0] else "")
            line.append_text(Text(gap) + cell if columns[one].right else cell + Text(gap))
        line.rstrip()
        found.append(line)
    return found
