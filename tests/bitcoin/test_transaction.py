"""Transactions: ids, sizes, witnesses, the encodings that are refused, and the rules that need nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pframe.protocols.bitcoin.block import build_coinbase
from p2pframe.protocols.bitcoin.header import hash256, hash_from_hex, hash_hex
from p2pframe.protocols.bitcoin.transaction import (
    MAX_MONEY,
    NULL_HASH,
    BadTransaction,
    Transaction,
    TxInput,
    TxOutput,
    build_transaction,
    check_transaction,
    coinbase_height,
    parse_transaction,
    script_number,
)
from p2pframe.protocols.bitcoin.wire import MalformedMessage

u32 = st.integers(0, 2**32 - 1)
scripts = st.one_of(st.binary(max_size=40), st.binary(min_size=250, max_size=300))
stacks = st.lists(scripts, max_size=4).map(tuple)
inputs = st.builds(TxInput, st.binary(min_size=32, max_size=32), u32, scripts, u32, stacks)
outputs = st.builds(TxOutput, st.integers(-(2**63), 2**63 - 1), scripts)
transactions = st.builds(
    build_transaction,
    st.lists(inputs, min_size=1, max_size=5),
    st.lists(outputs, max_size=5),
    st.integers(-(2**31), 2**31 - 1),
    u32,
)

# The first transaction of BIP143's examples: one plain and one witness input.
SIGNED = (
    "01000000000102fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f0000000049483045022100"
    "8b9d1dc26ba6a9cb62127b02742fa9d754cd3bebf337f7a55d114c8e5cdd30be022040529b194ba3f9281a99f2b1c0a19c04"
    "89bc22ede944ccf4ecbab4cc618ef3ed01eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b9"
    "0ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac909351"
    "0d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac000247304402203609e17b84f6a7d30c80bfa6"
    "10b5b4542f32a8a0d5447a12fb1366d7f01cc44a0220573a954c4518331561406f90300e8f3358f51928d43c212a8caed02d"
    "e67eebee0121025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee635711000000"
)


@given(transactions)
def test_what_was_built_is_parsed_back(transaction):
    parsed = parse_transaction(transaction.raw)
    assert parsed == transaction and hash(parsed) == hash(transaction)
    rebuilt = build_transaction(parsed.inputs, parsed.outputs, parsed.version, parsed.lock_time)
    assert rebuilt.raw == transaction.raw
    assert (parsed.txid, parsed.wtxid, parsed.weight) == (transaction.txid, transaction.wtxid, transaction.weight)


@given(transactions)
def test_ids_and_sizes_are_those_of_the_two_encodings(transaction):
    plain = build_transaction(
        [spend._replace(witness=()) for spend in transaction.inputs],
        transaction.outputs, transaction.version, transaction.lock_time,
    )  # fmt: skip
    assert transaction.stripped() == plain.raw and not plain.has_witness
    assert transaction.txid == plain.txid == plain.wtxid == hash256(plain.raw)
    assert transaction.wtxid == hash256(transaction.raw)
    assert transaction.weight == 3 * len(plain.raw) + len(transaction.raw)
    assert transaction.virtual_size == -(-transaction.weight // 4)
    assert transaction.has_witness == any(spend.witness for spend in transaction.inputs)


@given(transactions, st.data())
def test_no_part_of_a_transaction_is_one_and_nothing_may_follow(transaction, data):
    with pytest.raises(MalformedMessage):
        parse_transaction(transaction.raw[: data.draw(st.integers(0, transaction.size - 1))])
    with pytest.raises(MalformedMessage):
        parse_transaction(transaction.raw + b"\0")


@given(transactions, st.data())
def test_a_changed_byte_gives_another_transaction_or_a_malformed_one(transaction, data):
    raw = bytearray(transaction.raw)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        changed = parse_transaction(bytes(raw))
    except MalformedMessage:
        return
    assert changed.wtxid != transaction.wtxid
    again = build_transaction(changed.inputs, changed.outputs, changed.version, changed.lock_time)
    assert again.raw == bytes(raw), "one transaction has one encoding"


@given(transactions)
def test_btclib_agrees_on_ids_and_size(transaction):
    tx = pytest.importorskip("btclib.tx.tx", reason="btclib is not installed")
    theirs = tx.Tx.parse(transaction.raw, check_validity=False)
    assert theirs.id[::-1] == transaction.txid and theirs.hash[::-1] == transaction.wtxid
    assert theirs.weight == transaction.weight


def test_a_published_transaction_is_read():
    transaction = parse_transaction(bytes.fromhex(SIGNED))
    assert transaction.version == 1 and transaction.lock_time == 17 and transaction.size == 343
    assert [(hash_hex(spend.txid)[-6:], spend.vout, spend.sequence) for spend in transaction.inputs] == [
        ("f7f7ff", 0, 0xFFFFFFEE),
        ("e151ef", 1, 0xFFFFFFFF),
    ]
    assert [len(spend.script) for spend in transaction.inputs] == [73, 0]
    assert [[len(item) for item in spend.witness] for spend in transaction.inputs] == [[], [71, 33]]
    assert [output.value for output in transaction.outputs] == [112_340_000, 223_450_000]
    # BIP143's hashOutputs: the double hash of both outputs as they stand.
    stripped = transaction.stripped()
    assert hash256(stripped[-72:-4]).hex() == "863ef3e1a92afbfdb97f31ad0fc7683ee943e9abcf2501590ff8f6551f47e5e5"
    assert transaction.txid == hash256(stripped) != transaction.wtxid


HEAD, TAIL = b"\x02\0\0\0", bytes(4)
IN = bytes(36) + b"\0" + b"\xff" * 4
OUT = bytes(8) + b"\x01\x51"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (HEAD + b"\0\x01\x01" + IN + b"\x01" + OUT + b"\0" + TAIL, "has none"),
        (HEAD + b"\0\x01\0\x01" + OUT + TAIL, "no inputs"),
        (HEAD + b"\0\0" + TAIL, "unknown optional data"),
        (HEAD + b"\0\x03\x01" + IN + b"\x01" + OUT + b"\x01\x01x" + TAIL, "unknown optional data"),
        (HEAD + b"\xfd\x01\x00" + IN + b"\x01" + OUT + TAIL, "shortest"),
        (HEAD + b"\x01" + IN + b"\xfd\x01\x00" + OUT + TAIL, "shortest"),
        (HEAD + b"\x01" + IN[:36] + b"\xfd\0\0" + IN[37:] + b"\x01" + OUT + TAIL, "shortest"),
        (HEAD + b"\x01" + IN + b"\x01" + OUT[:8] + b"\xfd\x01\0\x51" + TAIL, "shortest"),
        (HEAD + b"\0\x01\x01" + IN + b"\x01" + OUT + b"\xfd\x01\0\x01x" + TAIL, "shortest"),
        (HEAD + b"\0\x01\x01" + IN + b"\x01" + OUT + b"\x01\xfd\x01\0x" + TAIL, "shortest"),
        (HEAD + b"\xfe\xff\xff\xff\x01" + IN, "too early"),
        (HEAD + b"\x01" + IN + b"\xfe\0\0\0\x02", "too early"),
        (HEAD + b"\x01" + IN + b"\xfe\x01\0\0\x02", "over"),
        (HEAD + b"\x01" + IN[:36] + b"\xfe\0\0\0\x02", "too early"),
        (b"", "too early"),
    ],
)
def test_encodings_that_are_refused(raw, why):
    with pytest.raises(MalformedMessage, match=why):
        parse_transaction(raw)


def test_long_counts_are_read():
    many = build_transaction(
        [TxInput(bytes(32), n, b"", 0, (b"x",) * 260) for n in range(260)], [TxOutput(1, b"")] * 260
    )
    parsed = parse_transaction(many.raw)
    assert len(parsed.inputs) == 260 and len(parsed.outputs) == 260 and parsed.inputs[259].witness == (b"x",) * 260


def test_a_transaction_without_inputs_is_not_built():
    with pytest.raises(ValueError, match="input"):
        build_transaction([], [TxOutput(1, b"")])


def test_hashes_are_shown_reversed():
    identity = bytes(range(32))
    assert hash_hex(identity).startswith("1f1e") and hash_from_hex(hash_hex(identity)) == identity
    with pytest.raises(ValueError, match="64"):
        hash_from_hex("00")
    assert "1f1e" not in repr(build_transaction([TxInput(identity, 0)], []))


SPEND = TxInput(b"\x01" * 32, 0)
PAY = TxOutput(1, b"\x51")


def coinbase(script=b"\x01\x02"):
    return TxInput(NULL_HASH, 0xFFFFFFFF, script)


@pytest.mark.parametrize(
    ("spends", "pays", "reason"),
    [
        ([SPEND], [], "bad-txns-vout-empty"),
        ([SPEND], [PAY._replace(value=-1)], "bad-txns-vout-negative"),
        ([SPEND], [PAY._replace(value=MAX_MONEY + 1)], "bad-txns-vout-toolarge"),
        ([SPEND], [PAY._replace(value=MAX_MONEY), PAY], "bad-txns-vout-toolarge"),
        ([SPEND, SPEND._replace(sequence=1)], [PAY], "bad-txns-inputs-duplicate"),
        ([coinbase(b"x")], [PAY], "bad-cb-length"),
        ([coinbase(b"x" * 101)], [PAY], "bad-cb-length"),
        ([SPEND, coinbase()], [PAY], "bad-txns-prevout-null"),
        ([SPEND], [PAY._replace(script=bytes(1_000_000))], "bad-txns-oversize"),
    ],
)
def test_a_transaction_that_can_never_be_valid_is_named_as_core_does(spends, pays, reason):
    with pytest.raises(BadTransaction) as caught:
        check_transaction(build_transaction(spends, pays))
    assert caught.value.reason == reason


@pytest.mark.parametrize("spends", [[SPEND], [coinbase()], [coinbase(b"x" * 100)], [SPEND, SPEND._replace(vout=1)]])
def test_a_transaction_that_may_be_valid_passes(spends):
    check_transaction(build_transaction(spends, [PAY]))


@pytest.mark.parametrize(
    ("spend", "answer"),
    [
        (coinbase(), True),
        (coinbase()._replace(witness=(bytes(32),)), True),
        (coinbase()._replace(vout=0), False),
        (SPEND._replace(vout=0xFFFFFFFF), False),
    ],
)
def test_only_what_spends_nothing_is_a_coinbase(spend, answer):
    assert build_transaction([spend], [PAY]).is_coinbase is answer


@given(st.one_of(st.integers(0, 20), st.integers(0, 2**31 - 1)))
def test_a_coinbase_says_its_height(height):
    assert coinbase_height(build_coinbase(height, 50, b"\x51", extra=b"tag")) == height


@pytest.mark.parametrize(
    "script", [b"", b"\x01\x05", b"\x02\x80\x00"[:2], b"\x02\x20\x00", b"\x4c\x01\x20", b"\x03\x01"]
)
def test_a_height_that_is_not_in_shortest_form_is_none(script):
    assert coinbase_height(build_transaction([coinbase(script)], [PAY])) is None


@pytest.mark.parametrize(
    ("height", "pushed"), [(0, "00"), (1, "51"), (16, "60"), (17, "0111"), (128, "028000"), (500_000, "0320a107")]
)
def test_heights_are_pushed_as_bip34_says(height, pushed):
    assert script_number(height).hex() == pushed


def test_a_transaction_is_only_equal_to_its_like():
    transaction = build_transaction([SPEND], [PAY])
    assert transaction != transaction.raw and isinstance(transaction, Transaction)
