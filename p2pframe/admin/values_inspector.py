"""What the API answers and takes where a session is looked into."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from p2pframe.admin.routes import Closed
from p2pframe.admin.values import Short

Way = Literal["", "in", "out"]


class Inspecting(Closed):
    """A session that is looked into, or was until it ended (`running`).

    `decoded`: its protocol says what the messages are; else they are reads, as bytes. `dropped` messages were kept and
    are not any more, as newer ones came; `kept` are there, of numbers up to `latest`. `bytes` is about what they take.
    """

    network: str
    id: int
    address: str
    protocol: str
    began: float
    running: bool
    decoded: bool
    kept: int
    bytes: int
    dropped: int
    latest: int


class Inspections(Closed):
    """All that there are."""

    inspections: list[Inspecting]


class InspectedQuery(Closed):
    """Messages with a number greater than `after`: of a direction, a type, and with every word of `text` in them."""

    after: int = Field(0, ge=0, le=10**15)
    way: Way = ""
    type: Short = ""
    text: Short = ""
    limit: int = Field(100, ge=1, le=200)


class FilterQuery(Closed):
    """Of a direction, a type, and with every word of `text` in them."""

    way: Way = ""
    type: Short = ""
    text: Short = ""


class PageOfMessagesQuery(FilterQuery):
    """What a page shows: the latest with a number below `before`, and one of them whole."""

    before: int = Field(0, ge=0, le=10**15)
    message: int = Field(0, ge=0, le=10**15)


class SeenMessage(Closed):
    """One message. `seconds` since the inspection began; `hex` are its first bytes, all of them where not `cut`."""

    number: int
    time: float
    seconds: float
    way: Literal["in", "out"]
    type: str
    size: int
    error: str
    fields: dict[str, object]
    hex: str
    cut: bool


class Inspected(Closed):
    """Messages, oldest first; `next` is what to ask for `after`, null where there are no more yet."""

    inspecting: Inspecting
    messages: list[SeenMessage]
    next: int | None
