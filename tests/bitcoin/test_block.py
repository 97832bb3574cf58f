"""Blocks: a real one, the merkle tree and its weakness, the witness commitment, and the builders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.protocols.bitcoin.block import (
    COMMITMENT_PREFIX,
    BadBlock,
    assemble_block,
    build_coinbase,
    check_block,
    join_block,
    merkle_root,
    parse_block,
    witness_commitment,
    witness_root,
)
from p2pframe.protocols.bitcoin.header import (
    Header,
    hash256,
    hash_hex,
    header_hash,
    parse_header,
    serialize_header,
)
from p2pframe.protocols.bitcoin.transaction import NULL_HASH, TxInput, TxOutput, build_transaction
from p2pframe.protocols.bitcoin.wire import MalformedMessage, compact_size

VECTOR = Path(__file__).parents[2].parent / "shared" / "vectors" / "bitcoin" / "block413567.raw"
EMPTY = Header(0x20000000, bytes(32), bytes(32), 1_700_000_000, 0x207FFFFF, 0)
PAY = TxOutput(1, b"\x51")


def spend(number, witness=()):
    return build_transaction([TxInput(hash256(bytes([number])), number, b"", 0xFFFFFFFF, witness)], [PAY])


def block_of(*others, **coinbase):
    return parse_block(assemble_block(EMPTY, [build_coinbase(200, 50, b"\x51", others, **coinbase), *others]))


def remade(block, transactions):
    """The block with other transactions under a header that was made for them."""
    return parse_block(assemble_block(block.header, transactions))


def reason_of(block, **how):
    with pytest.raises(BadBlock) as caught:
        check_block(block, **how)
    return caught.value.reason, caught.value.mutated


@pytest.fixture(scope="module")
def vector():
    if not VECTOR.exists():
        pytest.skip(f"the published block is not at {VECTOR}")
    return VECTOR.read_bytes()


def test_a_block_of_mainnet_is_read(vector):
    block = parse_block(vector)
    assert hash_hex(block.hash) == "0000000000000000025aff8be8a55df8f89c77296db6198f272d6577325d4069"
    assert len(block) == 1557 and block.size == 999_887 and block.weight == 4 * 999_887 and not block.witness
    assert merkle_root(block.txids) == (block.header.merkle_root, False)
    check_block(block)
    assert join_block(block.header_bytes, block.transactions()) == vector
    assert block.transaction(0).is_coinbase and block.txids == block.wtxids


def test_btclib_agrees_on_a_block_of_mainnet(vector):
    btclib_block = pytest.importorskip("btclib.block.block", reason="btclib is not installed")
    theirs = btclib_block.Block.parse(vector, check_validity=False)
    assert [transaction.id[::-1] for transaction in theirs.transactions] == parse_block(vector).txids


def test_any_changed_transaction_of_it_is_found(vector):
    for place in (200, 5_000, 500_000, 999_000):
        changed = bytearray(vector)
        changed[place] ^= 0x40
        try:
            block = parse_block(bytes(changed))
        except MalformedMessage:
            continue
        assert reason_of(block) == ("bad-txnmrklroot", True)


def test_a_header_comes_back():
    raw = serialize_header(EMPTY)
    assert len(raw) == 80 and parse_header(b"xx" + raw, 2) == EMPTY and header_hash(raw) == hash256(raw)
    with pytest.raises(MalformedMessage, match="79 bytes"):
        parse_header(raw, 1)


def test_a_block_comes_back_with_both_ids_of_each_transaction():
    others = [spend(1), spend(2, (b"signature", b"key")), spend(3)]
    block = block_of(*others)
    assert block.transactions()[1:] == others and block.txids[1:] == [one.txid for one in others]
    assert block.wtxids == [one.wtxid for one in block.transactions()] and block.witness
    plain = parse_block(join_block(block.header_bytes, block.transactions()))
    assert plain.hash == block.hash == header_hash(block.header_bytes)
    assert block.stripped_size == 80 + 1 + sum(one.stripped_size for one in block.transactions())
    assert block.weight == 4 * 81 + sum(one.weight for one in block.transactions())
    check_block(block)
    assert "4 transactions" in repr(block)


@given(st.integers(0, 10**6))
def test_no_part_of_a_block_is_one(place):
    raw = block_of(spend(1), spend(2, (b"w",))).raw
    with pytest.raises(MalformedMessage):
        parse_block(raw[: place % len(raw)])
    with pytest.raises(MalformedMessage, match="too many"):
        parse_block(raw + b"\0")


def test_a_count_that_can_not_be_true_is_refused_before_it_is_counted():
    with pytest.raises(MalformedMessage, match="can't fit"):
        parse_block(bytes(80) + compact_size(0x02000000) + bytes(1000))


@pytest.mark.parametrize("count", range(1, 12))
def test_the_merkle_root_is_that_of_the_textbook(count):
    ids = [hash256(bytes([number])) for number in range(count)]

    def textbook(level):
        if len(level) == 1:
            return level[0]
        if len(level) % 2:
            level = [*level, level[-1]]
        return textbook([hash256(level[place] + level[place + 1]) for place in range(0, len(level), 2)])

    assert merkle_root(ids) == (textbook(ids), False)


def test_the_merkle_root_of_nothing_is_zeros():
    assert merkle_root([]) == (NULL_HASH, False)


@pytest.mark.parametrize(("count", "repeated"), [(3, 1), (6, 2), (5, 1), (7, 1), (12, 4), (10, 2)])
def test_a_list_that_repeats_its_end_has_the_same_root_and_is_seen(count, repeated):
    ids = [hash256(bytes([number])) for number in range(count)]
    root, mutated = merkle_root(ids)
    assert not mutated and merkle_root(ids + ids[-repeated:]) == (root, True)


def test_a_body_that_repeats_its_end_is_its_senders_offence():
    block = block_of(spend(1), spend(2))
    transactions = block.transactions()
    forged = parse_block(join_block(block.header_bytes, [*transactions, transactions[-1]]))
    assert forged.hash == block.hash and reason_of(forged) == ("bad-txns-duplicate", True)


def test_a_body_that_is_not_its_headers_is_its_senders_offence():
    block = block_of(spend(1))
    forged = parse_block(join_block(block.header_bytes, [block.transaction(0), spend(2)]))
    assert reason_of(forged) == ("bad-txnmrklroot", True)


def test_a_changed_witness_is_its_senders_offence():
    block = block_of(spend(1, (b"good",)))
    forged = parse_block(join_block(block.header_bytes, [block.transaction(0), spend(1, (b"evil",))]))
    assert forged.txids == block.txids and reason_of(forged) == ("bad-witness-merkle-match", True)


def test_witnesses_without_a_commitment_are_its_senders_offence():
    plain = block_of(spend(1), commit=False)
    check_block(plain)
    forged = parse_block(join_block(plain.header_bytes, [plain.transaction(0), spend(1, (b"w",))]))
    assert reason_of(forged) == ("unexpected-witness", True)
    assert reason_of(block_of(spend(1, (b"w",))), segwit=False) == ("unexpected-witness", True)


@pytest.mark.parametrize("stack", [(), (b"short",), (NULL_HASH, NULL_HASH)])
def test_a_coinbase_that_commits_has_one_witness_of_32_bytes(stack):
    block = block_of()
    coinbase = block.transaction(0)
    other = build_transaction([coinbase.inputs[0]._replace(witness=stack)], coinbase.outputs)
    assert reason_of(remade(block, [other])) == ("bad-witness-nonce-size", True)


def test_of_several_commitments_the_last_one_counts():
    coinbase = build_coinbase(5, 50, b"\x51")
    right = coinbase.outputs[1]
    wrong = TxOutput(0, COMMITMENT_PREFIX + bytes(32))
    last = build_transaction(coinbase.inputs, [PAY, wrong, right, TxOutput(0, b"\x6a\x24\xaa\x21\xa9\xed")])
    assert witness_commitment(last) == right.script[6:38]
    check_block(parse_block(assemble_block(EMPTY, [last])))
    first = build_transaction(coinbase.inputs, [PAY, right, wrong])
    assert reason_of(parse_block(assemble_block(EMPTY, [first])))[0] == "bad-witness-merkle-match"


def test_the_witness_root_counts_the_coinbase_as_zeros():
    others = [spend(1), spend(2)]
    block = block_of(*others)
    assert witness_root(block.wtxids) == merkle_root([NULL_HASH, *(one.wtxid for one in others)])[0]


def test_the_first_transaction_and_no_other_is_a_coinbase():
    block = block_of(spend(1))
    assert reason_of(remade(block, [spend(1), spend(2)])) == ("bad-cb-missing", False)
    second = build_coinbase(9, 1, b"\x51", commit=False)
    for another in (second, build_coinbase(9, 1, b"\x51")):
        assert reason_of(remade(block, [build_coinbase(1, 1, b"\x51", [another]), another])) == (
            "bad-cb-multiple",
            False,
        )
    nothing = build_transaction([TxInput(NULL_HASH, 3)], [PAY])
    check_block(remade(block, [build_coinbase(1, 1, b"\x51", [nothing]), nothing]))


def test_a_body_without_coinbase_that_may_be_inner_hashes_of_the_tree_is_its_senders_offence():
    inner = build_transaction([TxInput(bytes(31) + b"\x01", 1)], [TxOutput(1, b"\x51" * 4)])
    assert inner.size == 64
    assert reason_of(parse_block(assemble_block(EMPTY, [inner]))) == ("bad-cb-missing", True)


def test_a_block_without_transactions_is_bad():
    assert reason_of(parse_block(join_block(serialize_header(EMPTY), []))) == ("bad-blk-length", False)


def test_a_block_over_its_weight_is_bad():
    heavy = build_transaction([TxInput(hash256(b"x"), 0)], [TxOutput(1, bytes(1_000_000))])
    assert reason_of(block_of(heavy)) == ("bad-blk-length", False)
    heavy = spend(1, (bytes(3_999_500),))
    block = block_of(heavy)
    assert block.weight > 4_000_000 and reason_of(block) == ("bad-blk-weight", False)
    check_block(block_of(spend(1, (bytes(3_999_000 - 600),))))


def test_low_heights_make_a_coinbase_script_of_two_bytes():
    script = build_coinbase(1, 50, b"\x51").inputs[0].script
    assert len(script) == 2 and build_coinbase(1, 50, b"\x51", extra=b"ab").inputs[0].script == b"\x51ab"
