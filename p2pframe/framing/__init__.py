"""Library for conversations of framed messages: bounded buffer, parse loop, dispatch table. Without I/O.

A protocol brings a `Framing` (what a header says), a conversation brings its tables of handlers, and core's session
drives the `FrameLoop` between them.
"""

from __future__ import annotations

from p2pframe.framing.errors import MalformedMessage, TooMany
from p2pframe.framing.loop import UNKNOWN, UNREAD, Entry, FrameLoop, Framing, Handler, IRejections, Table

__all__ = [
    "UNKNOWN",
    "UNREAD",
    "Entry",
    "FrameLoop",
    "Framing",
    "Handler",
    "IRejections",
    "MalformedMessage",
    "Table",
    "TooMany",
]
