"""What can be wrong with one message of a stream that is itself still readable.

The third error of a conversation, `p2pframe.errors.UnreadableStream`, says that the stream can't be split any further.
"""

from __future__ import annotations

from p2pframe.errors import P2PFrameError


class MalformedMessage(P2PFrameError):
    """A payload is not what its type says it must be; the message is dropped and counted, the stream goes on.

    `what` is what was found wrong; `where` names the message or field, and the byte where that is known.
    """

    def __init__(self, what: str, where: str = "") -> None:
        self.what = what
        self.where = where
        super().__init__(f"{where}: {what}" if where else what)


class TooMany(P2PFrameError):
    """A payload announces more entries than its type may have; raised before any of them is looked at.

    No honest peer sends it, so the conversation closes on it. `what` names the message or field.
    """

    def __init__(self, what: str, count: int, limit: int) -> None:
        self.what = what
        self.count = count
        self.limit = limit
        super().__init__(f"{what}: {count} entries where at most {limit} are allowed")
