"""The items of BEP 44: their targets, what is signed, and whether a signature holds."""

from __future__ import annotations

from hashlib import sha1

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

VALUE_BYTES = 1000
"""Bytes of a value's bencoding, at most."""
SALT_BYTES = 64
KEY_BYTES = 32
SIGNATURE_BYTES = 64
SEQUENCES = 2**63
"""Sequence numbers are below this, and not negative: BEP 44 lets anybody refuse others."""


def immutable_target(encoded: bytes) -> bytes:
    """The target of an immutable item: SHA-1 of its bencoding."""
    return sha1(encoded, usedforsecurity=False).digest()


def mutable_target(key: bytes, salt: bytes = b"") -> bytes:
    """The target of a mutable item: SHA-1 of its public key and salt."""
    return sha1(key + salt, usedforsecurity=False).digest()


def signed_bytes(salt: bytes, sequence: int, encoded: bytes) -> bytes:
    """What is signed: salt (where there is one), sequence number and value, each with its key."""
    before = b"4:salt%d:%b" % (len(salt), salt) if salt else b""
    return b"%b3:seqi%de1:v%b" % (before, sequence, encoded)


def public_key(seed: bytes) -> bytes:
    """The public key of an Ed25519 seed of 32 bytes; raises ValueError for another length."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign(seed: bytes, salt: bytes, sequence: int, encoded: bytes) -> bytes:
    """The signature of 64 bytes. Raises ValueError for a seed, salt or sequence number that can't be one."""
    if not 0 <= sequence < SEQUENCES:
        raise ValueError(f"a sequence number is from 0 to 2**63 - 1, not {str(sequence)[:40]}")
    if len(salt) > SALT_BYTES:
        raise ValueError(f"a salt has at most {SALT_BYTES} bytes, this has {len(salt)}")
    return Ed25519PrivateKey.from_private_bytes(seed).sign(signed_bytes(salt, sequence, encoded))


def verify(key: bytes, salt: bytes, sequence: int, encoded: bytes, signature: bytes) -> bool:
    """Whether the signature holds; False for anything that can't be one."""
    if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    if len(salt) > SALT_BYTES or not 0 <= sequence < SEQUENCES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed_bytes(salt, sequence, encoded))
    except (InvalidSignature, ValueError):
        return False
    return True
