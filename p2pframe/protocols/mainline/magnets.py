"""Magnet links to mutable items (BEP 46): `magnet:?xs=urn:btpk:<public key>&s=<salt>`."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from p2pframe.protocols.mainline.signed_items import KEY_BYTES, SALT_BYTES, mutable_target

_PREFIX = "urn:btpk:"
_LONGEST = 4096


class KeyMagnet(NamedTuple):
    """A public key and a salt: what names a mutable item."""

    key: bytes
    salt: bytes = b""

    @property
    def target(self) -> bytes:
        """Where the item is looked up."""
        return mutable_target(self.key, self.salt)

    def __str__(self) -> str:
        return f"magnet:?xs={_PREFIX}{self.key.hex()}" + (f"&s={self.salt.hex()}" if self.salt else "")


def parse(link: str) -> KeyMagnet:
    """Read a link. Raises ValueError that says what is wrong with it."""
    if len(link) > _LONGEST:
        raise ValueError(f"a magnet link has at most {_LONGEST} characters")
    parts = urlsplit(link)
    if parts.scheme != "magnet":
        raise ValueError("a magnet link begins with magnet:?")
    fields = dict(reversed(parse_qsl(parts.query)))
    source = fields.get("xs", "")
    if not source.startswith(_PREFIX):
        raise ValueError(f"the link has no xs={_PREFIX}<public key>")
    key, salt = _hex(source[len(_PREFIX) :], "public key"), _hex(fields.get("s", ""), "salt")
    if len(key) != KEY_BYTES:
        raise ValueError(f"a public key has {KEY_BYTES} bytes, this has {len(key)}")
    if len(salt) > SALT_BYTES:
        raise ValueError(f"a salt has at most {SALT_BYTES} bytes, this has {len(salt)}")
    return KeyMagnet(key, salt)


def _hex(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError(f"the {what} is not written in hex digits") from None
