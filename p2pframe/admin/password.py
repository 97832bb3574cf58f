"""A password to log in with, where the user sets one: its hash (argon2id, RFC 9106) in a file that nobody else reads.

A hash says itself what it costs to check, so its parameters are bounded before anything is computed: a file of
another's making can't have the node fill its memory. argon2-cffi, which is native code, is an extra.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from p2pframe.errors import StartError, StorageError
from p2pframe.interfaces import IContext
from p2pframe.private_file import read_private

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST, LONGEST = 10, 1000
"""Characters of a password."""
MEMORY, TIME, LANES = 262_144, 10, 8
"""KiB, passes and lanes that a hash may take to check."""
MISSING = "passwords take argon2-cffi: pip install 'p2pframe[password]'"
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,9}),t=([1-9][0-9]{0,9}),p=([1-9][0-9]{0,9})"
    r"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})\Z"
)


class TooShort(ValueError):
    """A password that is too easily guessed, or longer than any; the text says so."""


def make_hash(password: str) -> str:
    """The hash of a new password, for its file. Raises `TooShort`, and ImportError where argon2-cffi is missing."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise TooShort(f"a password has {SHORTEST} to {LONGEST} characters")
    return _hasher().hash(password)


def checked_hash(text: str) -> str:
    """The hash in a file. Raises ValueError, which never quotes it, where it is none that is taken."""
    match = _HASH.match(text)
    if match is None:
        raise ValueError("no hash of argon2id (version 19): `p2pframe admin password` writes one")
    memory, time, lanes = (int(one) for one in match.groups()[:3])
    if not 8 * lanes <= memory <= MEMORY or time > TIME or lanes > LANES:
        raise ValueError(
            f"a hash whose check takes more than {MEMORY} KiB, {TIME} passes or {LANES} lanes, or can't be: "
            "`p2pframe admin password` writes another"
        )
    for part in match.groups()[3:]:
        try:
            b64decode(part + "=" * (-len(part) % 4), validate=True)
        except Base64Error:
            raise ValueError("a hash that is damaged: `p2pframe admin password` writes another") from None
    return text


def verified(hash: str, password: str) -> bool:
    """Whether it is that password: some 50 ms and the memory that the hash says."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return _hasher().verify(hash, password)
    except (Argon2Error, InvalidHashError):
        return False


class Busy(Exception):
    """As many passwords are being checked as may be at once."""


class Passwords:
    """Checks passwords against one hash, off the reactor's thread, at most `most()` at once."""

    def __init__(self, context: IContext, hash: str | None, most: Callable[[], int]) -> None:
        self._context = context
        self._hash = hash
        self._most = most
        self._under_way = 0

    @property
    def is_set(self) -> bool:
        """Whether there is one to log in with."""
        return self._hash is not None

    def check(self, password: str) -> Deferred[bool]:
        """Whether that is the password. Raises `Busy`.

        Who goes away meanwhile ends the waiting, not the work: that counts until it is done.
        """
        answer: Deferred[bool] = Deferred()
        if self._hash is None:
            answer.callback(False)
            return answer
        if self._under_way >= self._most():
            raise Busy
        self._under_way += 1

        def done(result: object) -> object:
            self._under_way -= 1
            return result

        work = self._context.work(verified, self._hash, password).addBoth(done)
        work.addCallbacks(answer.callback, answer.errback)
        return answer


def read_hash(file: Path) -> str:
    """The hash in the file that the configuration names. Raises `StartError`, which says what to do."""
    try:
        text = read_private(file, 1000).decode("ascii").strip()
        hash = checked_hash(text)
    except FileNotFoundError:
        raise StartError(
            f"admin: the password's hash should be in {file}, which is not there: `p2pframe admin password` writes it"
        ) from None
    except StorageError as error:
        raise StartError(f"admin: password_file: {error}") from error
    except ValueError as error:
        said = "no text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise StartError(f"admin: password_file: {file} holds {said}") from None
    try:
        _hasher()
    except ImportError as error:
        raise StartError(f"admin: password_file is set, and {MISSING}") from error
    return hash


def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()
