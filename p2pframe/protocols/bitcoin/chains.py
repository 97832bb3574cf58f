"""The chains a Bitcoin node can be on: every number that differs between them, and nothing that decides.

Values are those of Bitcoin Core's `src/kernel/chainparams.cpp` as released in 2026 (minimum chain work, headers sync
parameters and seeds of that date), BIP94 (testnet4) and BIP325 (signet). Core has no checkpoints any more: what keeps a
cheap alternative history out is `minimum_chain_work` with the two passes of `presync`.

What the header rules can't check: a signet block's signature is in its coinbase (BIP325) and scripts are in the bodies.
A signet header with valid proof of work is a valid header here; its difficulty is low, so only the minimum work guards
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

MAXIMUM_FUTURE = 2 * 60 * 60
"""Seconds by which a header's time may be ahead of ours (Core's MAX_FUTURE_BLOCK_TIME)."""
MAXIMUM_TIMEWARP = 600
"""Seconds by which a period's first header may be older than the one before it, under BIP94."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain's parameters.

    `magic` starts every v1 frame. `genesis_header` is 80 bytes, `genesis_hash` its hash in the order of the wire.
    `pow_limit` is the easiest target (an integer), `pow_limit_bits` its compact form. Times are seconds. `retargets` is
    False where the difficulty never changes; `min_difficulty_blocks` allows the easiest target 20 minutes after a
    block; `bip94` is testnet4's pair of fixes. The `bip..._height` are the first heights at which header versions below
    2, 3 and 4 are refused. `minimum_chain_work` is the least total work of a chain that is stored. `commitment_period`
    and `redownload_buffer` are presync's (headers). `requires_validation`: what was not fully validated is neither
    announced nor served by default. `public`: only addresses that the whole Internet can route are kept, relayed and
    dialled.
    """

    name: str
    magic: bytes
    default_port: int
    genesis_header: bytes
    pow_limit: int
    pow_limit_bits: int
    minimum_chain_work: int
    commitment_period: int
    redownload_buffer: int
    dns_seeds: tuple[str, ...]
    bip34_height: int = 1
    bip66_height: int = 1
    bip65_height: int = 1
    segwit_height: int = 1
    target_timespan: int = 14 * 24 * 60 * 60
    target_spacing: int = 10 * 60
    retargets: bool = True
    min_difficulty_blocks: bool = False
    bip94: bool = False
    requires_validation: bool = True
    public: bool = True
    signet_challenge: bytes = b""

    @property
    def genesis_hash(self) -> bytes:
        """The genesis header's hash, in the order of the wire."""
        return sha256(sha256(self.genesis_header).digest()).digest()

    @property
    def interval(self) -> int:
        """Headers in a difficulty period."""
        return self.target_timespan // self.target_spacing


def _genesis(merkle_root: str, time: int, bits: int, nonce: int) -> bytes:
    """A version 1 genesis header; `merkle_root` as people write it (the wire's order reversed)."""
    return (
        (1).to_bytes(4, "little")
        + bytes(32)
        + bytes.fromhex(merkle_root)[::-1]
        + b"".join(number.to_bytes(4, "little") for number in (time, bits, nonce))
    )


_FIRST_COINBASE = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
_DIFFICULTY_ONE = (1 << 224) - 1
_SIGNET_CHALLENGE = bytes.fromhex(
    "512103ad5e0edad18cb1f0fc0d28a3d4f1f3e445640337489abb10404f2d1e086be430"
    "210359ef5021964fe22d6f8e05b2463c9540ce96883fe3b278760f048f5189f2e6c452ae"
)

MAINNET = Chain(
    name="mainnet",
    magic=bytes.fromhex("f9beb4d9"),
    default_port=8333,
    genesis_header=_genesis(_FIRST_COINBASE, 1231006505, 0x1D00FFFF, 2083236893),
    pow_limit=_DIFFICULTY_ONE,
    pow_limit_bits=0x1D00FFFF,
    minimum_chain_work=0x1128750F82F4C366153A3A030,
    commitment_period=641,
    redownload_buffer=15218,
    bip34_height=227931,
    bip66_height=363725,
    bip65_height=388381,
    segwit_height=481824,
    dns_seeds=(
        "seed.bitcoin.sipa.be",
        "dnsseed.bluematt.me",
        "seed.bitcoin.jonasschnelli.ch",
        "seed.btc.petertodd.net",
        "seed.bitcoin.sprovoost.nl",
        "dnsseed.emzy.de",
        "seed.bitcoin.wiz.biz",
        "seed.mainnet.achownodes.xyz",
    ),
)

TESTNET4 = Chain(
    name="testnet4",
    magic=bytes.fromhex("1c163f28"),
    default_port=48333,
    genesis_header=_genesis(
        "7aa0a7ae1e223414cb807e40cd57e667b718e42aaf9306db9102fe28912b7b4e", 1714777860, 0x1D00FFFF, 393743547
    ),
    pow_limit=_DIFFICULTY_ONE,
    pow_limit_bits=0x1D00FFFF,
    minimum_chain_work=0x9A0FE15D0177D086304,
    commitment_period=606,
    redownload_buffer=16092,
    min_difficulty_blocks=True,
    bip94=True,
    dns_seeds=("seed.testnet4.bitcoin.sprovoost.nl", "seed.testnet4.wiz.biz"),
)

SIGNET = Chain(
    name="signet",
    # BIP325: the first four bytes of the double SHA-256 of the challenge, with its length before it.
    magic=sha256(sha256(bytes([len(_SIGNET_CHALLENGE)]) + _SIGNET_CHALLENGE).digest()).digest()[:4],
    default_port=38333,
    genesis_header=_genesis(_FIRST_COINBASE, 1598918400, 0x1E0377AE, 52613770),
    pow_limit=0x377AE << 216,
    pow_limit_bits=0x1E0377AE,
    minimum_chain_work=0xB463EA0A4B8,
    commitment_period=620,
    redownload_buffer=15724,
    signet_challenge=_SIGNET_CHALLENGE,
    dns_seeds=("seed.signet.bitcoin.sprovoost.nl", "seed.signet.achownodes.xyz"),
)

REGTEST = Chain(
    name="regtest",
    magic=bytes.fromhex("fabfb5da"),
    default_port=18444,
    genesis_header=_genesis(_FIRST_COINBASE, 1296688602, 0x207FFFFF, 2),
    pow_limit=(1 << 255) - 1,
    pow_limit_bits=0x207FFFFF,
    minimum_chain_work=0,
    commitment_period=275,
    redownload_buffer=7017,
    segwit_height=0,
    target_timespan=24 * 60 * 60,
    # Core also allows minimum difficulty blocks here; where the difficulty never leaves the minimum that says nothing.
    retargets=False,
    requires_validation=False,
    public=False,
    dns_seeds=(),
)

CHAINS: dict[str, Chain] = {chain.name: chain for chain in (MAINNET, TESTNET4, SIGNET, REGTEST)}
"""By the name that a configuration uses."""
