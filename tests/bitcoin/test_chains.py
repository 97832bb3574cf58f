"""The chains' parameters agree with themselves and with the published genesis hashes."""

from __future__ import annotations

import pytest

from p2pframe.protocols.bitcoin.chains import CHAINS, MAINNET, REGTEST, SIGNET, TESTNET4
from p2pframe.protocols.bitcoin.header import parse_header
from p2pframe.protocols.bitcoin.headers import decode_bits, encode_bits, meets_target

GENESIS = {
    "mainnet": "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
    "testnet4": "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
    "signet": "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
    "regtest": "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
}


@pytest.mark.parametrize("name", sorted(GENESIS))
def test_a_genesis_header_has_the_published_hash_and_its_own_proof_of_work(name: str) -> None:
    chain = CHAINS[name]
    assert chain.genesis_hash[::-1].hex() == GENESIS[name]
    fields = parse_header(chain.genesis_header)
    assert fields.bits == chain.pow_limit_bits
    assert meets_target(chain.genesis_hash, fields.bits, chain.pow_limit)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=lambda chain: chain.name)
def test_the_two_forms_of_the_easiest_target_agree(chain) -> None:
    assert encode_bits(chain.pow_limit) == chain.pow_limit_bits
    assert decode_bits(chain.pow_limit_bits) <= chain.pow_limit


def test_the_magic_of_signet_comes_from_its_challenge() -> None:
    assert SIGNET.magic == bytes.fromhex("0a03cf40")


def test_chains_are_told_apart_on_the_wire() -> None:
    assert len({chain.magic for chain in CHAINS.values()}) == len({c.default_port for c in CHAINS.values()}) == 4


def test_only_regtest_is_private_and_served_unvalidated() -> None:
    assert all(chain.public and chain.requires_validation for chain in (MAINNET, TESTNET4, SIGNET))
    assert not REGTEST.public and not REGTEST.requires_validation
    assert REGTEST.dns_seeds == () and all(chain.dns_seeds for chain in (MAINNET, TESTNET4, SIGNET))
    assert REGTEST.minimum_chain_work == 0 < SIGNET.minimum_chain_work < TESTNET4.minimum_chain_work
