"""An upgrade in one file: a pre-shared key keeps a private network to those who hold it.

A worked example of `IUpgrade`.

    networks:
      team:
        upgrades: [{plugin: psk, key_file: ./team.key}]      # head -c 32 /dev/urandom | xxd -p -c 64 > team.key

An upgrade does no I/O of its own. `begin` is called for each session and returns a state; core feeds that state what
came from the wire and writes what it gives back. So the same class runs over TCP, in the simulator, and under a
property test.

What goes over the wire:

    dialer                                              listener
      | --- magic, fresh X25519 public key  ------------> |
      | <-- magic, fresh X25519 public key  ------------- |
      | --- empty packet: proof of the key -------------> |
      | <-- empty packet: proof of the key -------------- |
      | <== packets: length (2 bytes), ChaCha20-Poly1305 => |

    keys = HKDF-SHA256(ikm = X25519(ours, theirs), salt = pre-shared key,
                       info = label || dialer's public || listener's public)

Why it is safe to build on, and where it ends:

- replay: both ends add a fresh public key, so packets of an earlier session open nothing; within a session the nonce
  counts packets, so a packet sent again, left out or moved fails. There is a key for each direction: nothing can be
  reflected;
- truncation: a packet is handed on whole and authentic or not at all, and its length is authenticated with it. That a
  stream ends between two packets looks the same as a peer that closed: the protocol above knows whether it was done;
- who records today and steals the key tomorrow reads nothing (the X25519 keys are gone); who steals the key may then
  join;
- it proves membership, not identity: everyone with the key looks alike, so it gives no peer id. Use `tls` for that.
"""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Annotated

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import AfterValidator, SecretStr, model_validator
from pydantic_core import PydanticCustomError
from zope.interface import implementer

from p2pframe.errors import HandshakeFailed, StartError, UnreadableStream
from p2pframe.interfaces import IContext, IUpgrade, IUpgradeState, Upgraded
from p2pframe.model import PeerAddress, PeerId, TransportInfo
from p2pframe.plugin import Field, PluginConfig, plugin

MAGIC = b"p2ppsk1\n"
LABEL = b"p2pframe psk 1"
MAX_PLAIN = 16_384
TAG = 16
HELLO = len(MAGIC) + 32


def _key_of(text: str) -> bytes | None:
    """32 bytes from hex, or None."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        return None
    return key if len(key) == 32 else None


def _check_key(secret: SecretStr) -> SecretStr:
    # A passphrase would be guessed off line from one recorded handshake's worth of work: only full-length keys are
    # taken.
    if _key_of(secret.get_secret_value()) is None:
        raise PydanticCustomError("psk", "the key is 64 hex digits (32 random bytes)")
    return secret


class PskConfig(PluginConfig):
    """Options of the `psk` upgrade: the key itself, or better the file that it is in."""

    key: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(
        None, description="The key: 64 hex digits; give it as ${ENV}, never in the file itself."
    )
    key_file: Path | None = Field(None, description="A file with the key, mode 0600.")

    @model_validator(mode="after")
    def _one_of_them(self) -> PskConfig:
        if (self.key is None) == (self.key_file is None):
            raise PydanticCustomError("psk", "give either key or key_file")
        return self


@plugin("psk", config=PskConfig)
@implementer(IUpgrade)
class PskUpgrade:
    """Keeps a private network to those who hold its key, and encrypts what they say."""

    name = "psk"

    def __init__(self, config: PskConfig, context: IContext) -> None:
        self.config = config
        self.context = context
        # Once, at the start: `begin` must not block on the disk.
        self._key = _read_key(config.key_file) if config.key_file is not None else _given_key(config)

    def begin(self, address: PeerAddress, inbound: bool, peer_id: PeerId | None) -> PskState:
        """A state for one session. Whoever must be there by `peer_id` is for the transport to prove."""
        # Chance comes from the context: unpredictable in service, repeatable in the simulator.
        return PskState(self._key, self.context.entropy.bytes(32), dialer=not inbound)


@implementer(IUpgradeState)
class PskState:
    """One session: first the peer's hello, then its proof, then packets."""

    def __init__(self, key: bytes, private: bytes, dialer: bool) -> None:
        self.ready = False
        self._psk = key
        self._dialer = dialer
        self._private: X25519PrivateKey | None = X25519PrivateKey.from_private_bytes(private)
        self._public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._buffer = b""
        self._failed: HandshakeFailed | UnreadableStream | None = None
        self._seal: ChaCha20Poly1305 | None = None
        self._open: ChaCha20Poly1305 | None = None
        self._sealed = 0
        self._opened = 0

    def start(self) -> bytes:
        """Our hello. Both ends may say it at once: neither gives anything away."""
        return MAGIC + self._public

    def receive(self, data: bytes) -> Upgraded:
        """Take bytes in any segmentation; give what to answer, and the plain text of every packet that is complete."""
        if self._failed is not None:
            raise self._failed
        buffer = self._buffer + data
        answer = b""
        plain: list[bytes] = []
        try:
            offset = 0
            if self._open is None:
                answer, offset = self._hello(buffer)
            if self._open is not None:
                offset = self._packets(buffer, offset, plain)
        except (HandshakeFailed, UnreadableStream) as error:
            # What was read before it is not handed on either: the session ends here.
            self._failed = error
            self._buffer = b""
            raise
        # Less than one packet stays, whatever was sent: each complete one has been taken out.
        self._buffer = buffer[offset:]
        return Upgraded(answer, b"".join(plain))

    def send(self, data: bytes) -> bytes:
        """Seal bytes, in packets of at most 16 KiB. Raises RuntimeError before it is ready."""
        if not self.ready:
            raise RuntimeError("the handshake is not done")
        view = memoryview(data)
        return b"".join(
            self._packet(bytes(view[start : start + MAX_PLAIN])) for start in range(0, len(data), MAX_PLAIN)
        )

    def info(self) -> TransportInfo:
        """The key proves membership, not who it is: there is no peer id."""
        return TransportInfo(encryption="X25519 ChaCha20-Poly1305, pre-shared key")

    def _hello(self, buffer: bytes) -> tuple[bytes, int]:
        """Our proof and what was taken of the buffer, once the peer's hello is complete."""
        # The first wrong byte is enough: a peer of another protocol need not send 40 bytes to be told.
        if not MAGIC.startswith(buffer[: len(MAGIC)]):
            raise HandshakeFailed("psk-magic: the peer does not use the psk upgrade")
        if len(buffer) < HELLO:
            return b"", 0
        theirs = buffer[len(MAGIC) : HELLO]
        if hmac.compare_digest(theirs, self._public):
            raise HandshakeFailed("psk-reflected: the peer has sent our own hello back")
        assert self._private is not None
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(theirs))
        except ValueError:
            # A point of low order gives a secret that everyone knows (RFC 7748, section 6.1).
            raise HandshakeFailed("psk-point: the peer's public key is not one") from None
        self._private = None
        first, second = (self._public, theirs) if self._dialer else (theirs, self._public)
        keys = HKDF(hashes.SHA256(), 64, salt=self._psk, info=LABEL + first + second).derive(shared)
        ours, others = (keys[:32], keys[32:]) if self._dialer else (keys[32:], keys[:32])
        self._seal, self._open = ChaCha20Poly1305(ours), ChaCha20Poly1305(others)
        return self._packet(b""), HELLO

    def _packets(self, buffer: bytes, offset: int, plain: list[bytes]) -> int:
        """Open every complete packet; returns where the first incomplete one begins."""
        assert self._open is not None
        while len(buffer) - offset >= 2:
            header = buffer[offset : offset + 2]
            length = int.from_bytes(header)
            if not TAG <= length <= MAX_PLAIN + TAG:
                raise self._failure("psk-length", f"a packet of {length} bytes")
            end = offset + 2 + length
            if len(buffer) < end:
                break
            try:
                opened = self._open.decrypt(self._opened.to_bytes(12, "little"), buffer[offset + 2 : end], header)
            except InvalidTag:
                raise self._failure("psk-tag", "a packet of another key or session, or changed on the way") from None
            self._opened += 1
            offset = end
            if not self.ready:
                if opened:
                    raise HandshakeFailed("psk-proof: the first packet has to be empty")
                self.ready = True
            elif opened:
                plain.append(opened)
        return offset

    def _failure(self, reason: str, detail: str) -> HandshakeFailed | UnreadableStream:
        if self.ready:
            return UnreadableStream(reason, detail)
        return HandshakeFailed(f"{reason}: {detail}: does the peer have the same key?")

    def _packet(self, plain: bytes) -> bytes:
        assert self._seal is not None
        header = (len(plain) + TAG).to_bytes(2)
        # 2^96 packets are not to be sent in anyone's life: the nonce never comes round.
        sealed = self._seal.encrypt(self._sealed.to_bytes(12, "little"), plain, header)
        self._sealed += 1
        return header + sealed


def _given_key(config: PskConfig) -> bytes:
    assert config.key is not None
    key = _key_of(config.key.get_secret_value())
    assert key is not None
    return key


def _read_key(path: Path) -> bytes:
    try:
        if path.stat().st_mode & 0o077:
            raise StartError(f"upgrade psk: others may read the key file {path}: chmod 600 it")
        key = _key_of(path.read_text("ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"upgrade psk: key file {path}: {error}") from None
    if key is None:
        raise StartError(f"upgrade psk: key file {path}: write 64 hex digits (32 random bytes) into it")
    return key
