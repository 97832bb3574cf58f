"""Magnet links to mutable items (BEP 46): `magnet:?xs=urn:btpk:<public key>&s=<salt>`."""

from __future__ import annotations

from string import hexdigits
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from p2pframe.protocols.mainline.signed_items import KEY_BYTES, SALT_BYTES, mutable_target

_PREFIX = "urn:btpk:"
_LONGEST = 4096
_FIELDS = 32


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
    fields = parse_qsl(parts.query, max_num_fields=_FIELDS)
    # A link may name other exact sources too (BEP 9's are files).
    sources = [text for name, text in fields if name == "xs" and text.lower().startswith(_PREFIX)]
    salts = [text for name, text in fields if name == "s"]
    if not sources:
        raise ValueError(f"the link has no xs={_PREFIX}<public key>")
    if len(sources) > 1 or len(salts) > 1:
        raise ValueError("the link names more than one public key or salt: which is meant?")
    key, salt = _hex(sources[0][len(_PREFIX) :], "public key"), _hex(salts[0] if salts else "", "salt")
    if len(key) != KEY_BYTES:
        raise ValueError(f"a public key has {KEY_BYTES} bytes, this has {len(key)}")
    if len(salt) > SALT_BYTES:
        raise ValueError(f"a salt has at most {SALT_BYTES} bytes, this has {len(salt)}")
    return KeyMagnet(key, salt)


def _hex(text: str, what: str) -> bytes:
    # bytes.fromhex skips blanks, which here are a link that was broken on its way.
    if len(text) % 2 or not set(text) <= set(hexdigits):
        raise ValueError(f"the {what} is not written in pairs of hex digits")
    return bytes.fromhex(text)
