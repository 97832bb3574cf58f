"""Numbers, times and kinds of events as people read them: on the pages and at the terminal. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote


def duration(seconds: float | None) -> str:
    """`3 d 4 h`, `5 min`, `12 s`, `-` for None."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    for size, name, smaller, small_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name} {rest} {small_name}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def amount(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def rate(size: float) -> str:
    """Bytes a second; nothing to see for none."""
    return amount(size) if size >= 1 else "-"


class Commonest(NamedTuple):
    """Messages by type: how many, the most frequent types, and all of them."""

    number: int
    top: str
    all: str


def commonest(came: Mapping[str, int], went: Mapping[str, int]) -> Commonest:
    """What is said most, both ways together."""
    sums = dict(came)
    for kind, number in went.items():
        sums[kind] = sums.get(kind, 0) + number
    ordered = [f"{kind} {sums[kind]}" for kind in sorted(sums, key=sums.__getitem__, reverse=True)]
    return Commonest(sum(sums.values()), ", ".join(ordered[:3]), ", ".join(ordered))


def milliseconds(seconds: float | None) -> str:
    """A round trip."""
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def utc(seconds: float) -> str:
    """A time, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_KINDS = {
    "session.opened": ("connected", "good"),
    "session.closed": ("disconnected", ""),
    "peer.refused": ("refused", "warn"),
    "peer.judged": ("judged", ""),
    "peer.banned": ("banned", "bad"),
    "peer.unbanned": ("let in again", "good"),
}


def happened(kind: str) -> str:
    """A kind of event as people say it; one that we don't know as it is."""
    return _KINDS.get(kind, (kind, ""))[0]


def tone(kind: str) -> str:
    """Its class in the style sheet."""
    return _KINDS.get(kind, (kind, ""))[1]


def plain(value: object) -> str:
    """A value of a protocol's status: yes and no, numbers with their thousands apart."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else short(value)


def short(value: object) -> str:
    """A field of an event: no more digits than mean anything."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {short(one)}" for name, one in value.items())
    return str(value)


def host(address: str) -> str:
    """An address without its port, as a ban takes it."""
    before, _, port = address.rpartition(":")
    return before.strip("[]") if before and port.isdigit() else address


def measure(value: object, unit: str = "") -> str:
    """The value of a bound, or what is used of it: `unit` is `bytes`, `seconds` or empty."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(value)
    if unit == "bytes":
        return amount(value)
    if unit == "seconds":
        return duration(value) if value >= 60 else f"{value:.3g} s"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.4g}"


def sentence(text: str) -> str:
    """With a capital at its beginning and a full stop at its end."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def segment(text: str) -> str:
    """For one segment of a path."""
    return quote(text, safe="")


FILTERS: Mapping[str, Callable[..., object]] = {
    one.__name__: one
    for one in (
        duration, amount, rate, commonest, milliseconds, utc, happened, tone, short, plain, host, measure, sentence,
        segment
    )
}
"""For the templates."""
