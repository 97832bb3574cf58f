"""IInspectable: a protocol that can say in words what the bytes of a conversation mean, for people who look on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from zope.interface import Attribute, Interface

InspectedValue = str | int | float | bool | None | Sequence["InspectedValue"] | Mapping[str, "InspectedValue"]
"""What a field is: text, a number, yes or no, nothing, or more of them. Bytes are text in hex."""

MOST_VALUES = 500
"""Values of one message, lists and mappings counted with what is in them."""
LONGEST_TEXT = 1000
"""Characters of one value, and of a field's name."""
DEEPEST = 8
"""Mappings and lists within one another."""


@dataclass(frozen=True, slots=True)
class InspectedMessage:
    """One message of a stream.

    `name` is its type, as people call it; empty where that can't be told. `raw` is all of it, with its frame.
    `fields` is what it says, within `MOST_VALUES`, `LONGEST_TEXT` and `DEEPEST`: of a long list the first few and
    how many there are. `error` says what is wrong with it, if anything is; then `fields` may be empty.
    """

    name: str
    raw: bytes
    fields: Mapping[str, InspectedValue] = field(default_factory=dict)
    error: str = ""


class IInspector(Interface):
    """One direction of one stream, as it goes by."""

    held: int = Attribute("Bytes that wait for the rest of their message: never more than the longest there can be.")

    def feed(data: bytes) -> Sequence[InspectedMessage]:
        """Take what came next, in any split; the messages that it completes. Raises nothing, whatever the bytes are.

        The same bytes make the same messages however they are split, and no byte is lost: the `raw` of all messages,
        one after another, with what is still held, is what was fed. Where the stream can't be read (it was joined
        in the middle of a message, or is damaged) it says so by a message with an `error`, and goes on from where it
        can be read again, if the protocol can tell.
        """

    def end() -> Sequence[InspectedMessage]:
        """The stream is over: what was held, as a message that says so; none where nothing was. Called last."""


class IInspectable(Interface):
    """A protocol of streams may also provide this: its messages can be inspected.

    It takes nothing of a running node, so that a capture can be read without one: `inspector` is a class method, and
    the class provides this too (`@provider(IInspectable)` under its `@implementer`).
    """

    def inspector(way: str) -> IInspector:
        """Something that reads one direction (`in`, `out`) of a conversation, from its beginning or from anywhere.

        It is given what the conversation is, without upgrades. Its cost is borne while somebody looks on only.
        """
