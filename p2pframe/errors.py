"""The errors that p2pframe raises on purpose, by who is expected to act on them.

An operator acts on `ConfigError`, `PluginError`, `StorageError` and `StartError`: their text says what is wrong,
where, and what to do, and it is printed without a traceback. The rest are answers between the parts of a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class P2PFrameError(Exception):
    """Base of every error of this package."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One mistake in a configuration file.

    `line` and `column` count from 1, as editors do; `path` is the dotted path of the key
    (`networks.bitcoin.relay.plugin`); `message` says what was found and what is allowed.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        return where + (f"{self.path}: {self.message}" if self.path else self.message)


class ConfigError(P2PFrameError):
    """A configuration has mistakes; `problems` holds every one of them, in the order of the text."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PluginError(P2PFrameError):
    """A plugin could not be found, imported or accepted; the text names its origin."""


class StartError(P2PFrameError):
    """The node can't start: a busy port, an unwritable or locked data directory, a newer schema."""


class RestartNeeded(StartError):
    """A change of the configuration takes a restart of the whole node; nothing of it was applied."""


class StorageError(P2PFrameError):
    """The storage engine failed to read or write; the text names the operation and the file."""


class StorageFull(StorageError):
    """Growth was refused: the disk is full or under the configured floor of free space."""


class StorageCorrupt(StorageError):
    """What was read is not what was written; the reader sets it aside and rebuilds, or stops the start."""


class UnreadableStream(P2PFrameError):
    """The bytes of a stream can't be split any further: the session ends whatever the scorers say.

    `reason` is a short stable word for counters (`bad-magic`, `oversized`), `detail` is for people; the text has both.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class HandshakeFailed(P2PFrameError):
    """A transport or upgrade did not accept who is at the other end."""


class SessionClosed(P2PFrameError):
    """An operation needed a session that has ended."""


class VisitRefused(P2PFrameError):
    """A peer was not called on, for a reason of our own: too many visits, or one to it, are under way."""
