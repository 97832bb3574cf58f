"""The keys of a terminal, one by one, and the terminal as it was afterwards."""

from __future__ import annotations

import os
import re
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

_ARROW = re.compile(rb"\x1b(?:\[[0-9;]*|O)?[A-Za-z~]")
"""A key of several bytes, of which some are letters."""


@implementer(IReadDescriptor)
class Keys:
    """While it is entered `pressed` is told each key of a terminal, and `gone` that the terminal is no more.

    Ctrl-C stays what it is. Ctrl-Z is nothing: it would leave a picture on a screen that is the shell's again.
    """

    def __init__(self, reactor: Any, descriptor: int, pressed: Callable[[str], None], gone: Callable[[], None]) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._pressed = pressed
        self._gone = gone

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor, termios.TCSANOW)
        now = termios.tcgetattr(self._descriptor)
        now[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(self._descriptor, termios.TCSANOW, now)
        self._reactor.addReader(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        self._reactor.removeReader(self)
        # The terminal may have gone. What was typed and not read was meant for the picture: no command for a shell.
        with suppress(termios.error):
            termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, self._before)

    def fileno(self) -> int:
        """See `IFileDescriptor`."""
        return self._descriptor

    def logPrefix(self) -> str:
        """See `ILoggingContext`."""
        return "keys"

    def doRead(self) -> None:
        """See `IReadDescriptor`."""
        try:
            data = os.read(self._descriptor, 1024)
        except OSError:
            data = b""
        if not data:
            self._reactor.removeReader(self)
            self._gone()
            return
        for key in _ARROW.sub(b"", data).decode("ascii", "replace"):
            self._pressed(key)

    def connectionLost(self, reason: Failure) -> None:
        """See `IFileDescriptor`."""
