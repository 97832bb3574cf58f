"""What Bitcoin's messages say, as plain values for people: every type there is, over the codecs of this package.

Hashes are in the order in which people read them, scripts are hex, and of a list the first `SHOWN` are there with the
number of all. What a peer claims makes no work beyond that: nothing here is slower than reading the message itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from struct import Struct
from struct import error as StructError

from p2pframe.interfaces.inspect import InspectedValue
from p2pframe.protocols.bitcoin.addresses import (
    MAX_ADDRESSES,
    NetworkAddress,
    decode_addr,
    decode_addrv2,
    peer_address,
    read_legacy_address,
)
from p2pframe.protocols.bitcoin.header import HEADER_SIZE, hash_hex, header_hash, parse_header
from p2pframe.protocols.bitcoin.inventory import (
    MSG_BLOCK,
    MSG_CMPCT_BLOCK,
    MSG_FILTERED_BLOCK,
    MSG_TX,
    MSG_WITNESS_BLOCK,
    MSG_WITNESS_TX,
    MSG_WTX,
    decode_entries,
    decode_headers,
    decode_locator,
)
from p2pframe.protocols.bitcoin.messages import (
    KINDS,
    LONGEST,
    decode_empty,
    decode_feature,
    decode_feefilter,
    decode_nonce,
    decode_reject,
    decode_sendcmpct,
    decode_version,
    service_names,
)
from p2pframe.protocols.bitcoin.transaction import Transaction, parse_transaction, scan
from p2pframe.protocols.bitcoin.wire import MAX_COMPACT, MalformedMessage, Reader, read_compact, read_count

SHOWN = 10
"""Entries of a list."""
LONGEST_HEX = 400
"""Bytes of one value."""
_WINDOW = 50_000
"""Bytes that a transaction of a block may have to be taken apart: a longer one ends the list."""
_STACKED = 1000
"""Witness values that are stepped over: a transaction may have hundreds of thousands."""

Fields = Mapping[str, InspectedValue]
_U64 = Struct("<Q")
_INVENTORY = {
    MSG_TX: "transaction", MSG_BLOCK: "block", MSG_FILTERED_BLOCK: "filtered block", MSG_CMPCT_BLOCK: "compact block",
    MSG_WTX: "transaction (wtxid)", MSG_WITNESS_TX: "transaction with witness", MSG_WITNESS_BLOCK: "block with witness",
}  # fmt: skip


def fields_of(kind: str, payload: bytes) -> Fields:
    """What a payload says. Raises `MalformedMessage` or `TooMany` where it is not what its type says it must be."""
    if kind not in KINDS:
        return {"payload": _hex(payload)}
    longest = LONGEST.get(kind)
    if longest is not None and len(payload) > longest:
        raise MalformedMessage(f"{len(payload)} bytes where at most {longest} are of use", kind)
    read = _READERS.get(kind)
    if read is None:
        decode_empty(payload, kind)
        return {}
    return read(payload)


def _hex(data: bytes) -> str:
    return data.hex() if len(data) <= LONGEST_HEX else f"{data[:LONGEST_HEX].hex()}... ({len(data)} bytes)"


def _words(data: bytes) -> str:
    return data[:LONGEST_HEX].decode("utf-8", "replace")


def _list(name: str, count: int, shown: Iterable[InspectedValue]) -> dict[str, InspectedValue]:
    return {"count": count, name: list(shown)}


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if 0 <= seconds < 1 << 36 else "-"


def _services(bits: int) -> str:
    return ", ".join(sorted(service_names(bits))) or "none"


# --- the handshake, and what is small ---


def _legacy(raw: bytes) -> str:
    address = read_legacy_address(raw)
    return str(address) if address is not None else "none"


def _version(payload: bytes) -> Fields:
    found = decode_version(payload)
    return {
        "version": found.version, "services": _services(found.services), "time": found.time, "date": _date(found.time),
        "receiver": _legacy(found.receiver), "receiver_services": _services(_U64.unpack_from(found.receiver)[0]),
        "sender": _legacy(found.sender), "sender_services": _services(_U64.unpack_from(found.sender)[0]),
        "nonce": f"{found.nonce:016x}", "user_agent": _words(found.user_agent), "start_height": found.start_height,
        "relay": found.relay,
    }  # fmt: skip


def _nonce(payload: bytes) -> Fields:
    # Before BIP31 a ping had none; what follows it is ignored.
    return {"nonce": f"{_U64.unpack(decode_nonce(payload[:8]))[0]:016x}"} if payload else {}


def _feefilter(payload: bytes) -> Fields:
    return {"satoshi_per_kvB": decode_feefilter(payload)}


def _sendcmpct(payload: bytes) -> Fields:
    found = decode_sendcmpct(payload)
    return {"high_bandwidth": found.high_bandwidth, "version": found.version}


def _feature(payload: bytes) -> Fields:
    found = decode_feature(payload)
    return {"id": _words(found.id), "data": _hex(found.data)}


def _reject(payload: bytes) -> Fields:
    found = decode_reject(payload)
    return {
        "message": _words(found.message), "code": found.code, "reason": _words(found.reason), "extra": _hex(found.extra)
    }  # fmt: skip


def _sendtxrcncl(payload: bytes) -> Fields:
    reader = Reader(payload, "sendtxrcncl")
    fields: Fields = {"version": reader.u32(), "salt": f"{reader.u64():016x}"}
    reader.end()
    return fields


# --- addresses ---


def _address(entry: NetworkAddress) -> Fields:
    address = peer_address(entry)
    return {
        "address": str(address) if address is not None else f"network {entry.network}: {entry.address.hex()}",
        "services": _services(entry.services), "time": entry.time, "date": _date(entry.time),
    }  # fmt: skip


def _addr(payload: bytes) -> Fields:
    count, _ = read_count(payload, 0, MAX_ADDRESSES, "addr")
    return _list("addresses", count, map(_address, decode_addr(payload)[:SHOWN]))


def _addrv2(payload: bytes) -> Fields:
    count, _ = read_count(payload, 0, MAX_ADDRESSES, "addrv2")
    return _list("addresses", count, map(_address, decode_addrv2(payload)[:SHOWN]))


# --- inventories, headers, locators ---


def _inventory(kind: str) -> Callable[[bytes], Fields]:
    def read(payload: bytes) -> Fields:
        entries = decode_entries(payload, kind)
        shown = [{"type": _INVENTORY.get(type, f"{type:#x}"), "id": hash_hex(id)} for type, id in entries[:SHOWN]]
        return _list("entries", len(entries), shown)

    return read


def _header(raw: bytes) -> dict[str, InspectedValue]:
    header = parse_header(raw)
    return {
        "hash": hash_hex(header_hash(raw[:HEADER_SIZE])), "version": header.version,
        "previous": hash_hex(header.previous), "merkle_root": hash_hex(header.merkle_root), "time": header.time,
        "date": _date(header.time), "bits": f"{header.bits:08x}", "nonce": header.nonce,
    }  # fmt: skip


def _headers(payload: bytes) -> Fields:
    headers = decode_headers(payload)
    return _list("headers", len(headers), map(_header, headers[:SHOWN]))


def _locator(kind: str) -> Callable[[bytes], Fields]:
    def read(payload: bytes) -> Fields:
        found = decode_locator(payload, kind)
        shown = _list("hashes", len(found.hashes), map(hash_hex, found.hashes[:SHOWN]))
        return {"version": found.version, **shown, "stop": hash_hex(found.stop)}

    return read


# --- transactions and blocks ---


def _stacks(transaction: Transaction) -> list[InspectedValue]:
    """The witnesses of the first inputs, as far as they are few."""
    data, at, steps = transaction.witness_bytes, 0, 0
    shown: list[InspectedValue] = []
    while at < len(data) and len(shown) < SHOWN:
        count, at = read_compact(data, at)
        stack: list[InspectedValue] = []
        for number in range(count):
            steps += 1
            if steps > _STACKED:
                return shown
            size, at = read_compact(data, at)
            if number < SHOWN:
                stack.append(_hex(data[at : at + size]))
            at += size
        shown.append(_list("values", count, stack))
    return shown


def _ids(transaction: Transaction) -> dict[str, InspectedValue]:
    return {
        "txid": hash_hex(transaction.txid), "wtxid": hash_hex(transaction.wtxid), "size": transaction.size,
        "weight": transaction.weight,
    }  # fmt: skip


def _transaction(payload: bytes) -> Fields:
    found = parse_transaction(payload)
    spends, outputs, stacks = found.spends, found.outputs, _stacks(found)
    shown: list[InspectedValue] = []
    for number, spend in enumerate(spends[:SHOWN]):
        one: dict[str, InspectedValue] = {
            "txid": hash_hex(spend.txid), "vout": spend.vout, "script": _hex(spend.script), "sequence": spend.sequence
        }  # fmt: skip
        if number < len(stacks):
            one["witness"] = stacks[number]
        shown.append(one)
    paid: list[InspectedValue] = [{"satoshi": one.value, "script": _hex(one.script)} for one in outputs[:SHOWN]]
    return {
        **_ids(found), "version": found.version, "lock_time": found.lock_time,
        "inputs": _list("spends", len(spends), shown), "outputs": _list("pays", len(outputs), paid),
    }  # fmt: skip


def _transactions(reader: Reader, count: int) -> list[InspectedValue]:
    """The first of `count` transactions, as far as they are no longer than `_WINDOW`."""
    shown: list[InspectedValue] = []
    for _ in range(min(count, SHOWN)):
        window = reader.data[reader.at : reader.at + _WINDOW]
        try:
            end, witness_at = scan(window, 0)
            if end > len(window):
                raise IndexError
        except (IndexError, StructError):
            if reader.left <= len(window):
                where = f"{reader.what}, transaction {len(shown)}"
                raise MalformedMessage("ends inside a transaction", where) from None
            break
        shown.append(_ids(Transaction(window[:end], witness_at)))
        reader.take(end)
    return shown


def _block(payload: bytes) -> Fields:
    reader = Reader(payload, "block")
    header = _header(reader.take(HEADER_SIZE))
    count = reader.compact()
    return {**header, "size": len(payload), "transactions": _list("first", count, _transactions(reader, count))}


def _blocktxn(payload: bytes) -> Fields:
    reader = Reader(payload, "blocktxn")
    block = hash_hex(reader.take(32))
    count = reader.compact()
    return {"block": block, **_list("transactions", count, _transactions(reader, count))}


def _cmpctblock(payload: bytes) -> Fields:
    reader = Reader(payload, "cmpctblock")
    header = _header(reader.take(HEADER_SIZE))
    nonce = f"{reader.u64():016x}"
    count = reader.compact()
    ids = reader.take(6 * count)
    short = [ids[at : at + 6][::-1].hex() for at in range(0, min(len(ids), 6 * SHOWN), 6)]
    return {**header, "key": nonce, "short_ids": _list("first", count, short), "prefilled": reader.compact()}


def _getblocktxn(payload: bytes) -> Fields:
    reader = Reader(payload, "getblocktxn")
    block = hash_hex(reader.take(32))
    count = reader.compact()
    shown: list[InspectedValue] = []
    index = -1
    for _ in range(min(count, SHOWN)):
        index += 1 + reader.compact()
        shown.append(index)
    return {"block": block, **_list("indexes", count, shown)}


def _merkleblock(payload: bytes) -> Fields:
    reader = Reader(payload, "merkleblock")
    header = _header(reader.take(HEADER_SIZE))
    total, count = reader.u32(), reader.compact()
    hashes = _hashes(reader.take(32 * count))
    flags = reader.var_bytes(MAX_COMPACT)
    reader.end()
    return {**header, "transactions": total, "hashes": _list("first", count, hashes), "flags": _hex(flags)}


def _hashes(raw: bytes) -> list[InspectedValue]:
    return [hash_hex(raw[at : at + 32]) for at in range(0, min(len(raw), 32 * SHOWN), 32)]


# --- filters: of a peer (BIP37), and of blocks (BIP157) ---


def _filterload(payload: bytes) -> Fields:
    reader = Reader(payload, "filterload")
    fields: dict[str, InspectedValue] = {"filter": _hex(reader.var_bytes(36_000))}
    fields |= {"functions": reader.u32(), "tweak": reader.u32(), "flags": reader.u8()}
    reader.end()
    return fields


def _filteradd(payload: bytes) -> Fields:
    reader = Reader(payload, "filteradd")
    data = reader.var_bytes(520)
    reader.end()
    return {"data": _hex(data)}


def _getcf(kind: str, start: bool) -> Callable[[bytes], Fields]:
    def read(payload: bytes) -> Fields:
        reader = Reader(payload, kind)
        fields: dict[str, InspectedValue] = {"filter_type": reader.u8()}
        if start:
            fields["start_height"] = reader.u32()
        fields["stop"] = hash_hex(reader.take(32))
        reader.end()
        return fields

    return read


def _cfilter(payload: bytes) -> Fields:
    reader = Reader(payload, "cfilter")
    fields: dict[str, InspectedValue] = {"filter_type": reader.u8(), "block": hash_hex(reader.take(32))}
    fields["filter"] = _hex(reader.var_bytes(MAX_COMPACT))
    reader.end()
    return fields


def _cfheaders(payload: bytes) -> Fields:
    reader = Reader(payload, "cfheaders")
    fields: dict[str, InspectedValue] = {"filter_type": reader.u8(), "stop": hash_hex(reader.take(32))}
    fields["previous"] = hash_hex(reader.take(32))
    count = reader.count(2000)
    hashes = _hashes(reader.take(32 * count))
    reader.end()
    return {**fields, **_list("hashes", count, hashes)}


def _cfcheckpt(payload: bytes) -> Fields:
    reader = Reader(payload, "cfcheckpt")
    fields: dict[str, InspectedValue] = {"filter_type": reader.u8(), "stop": hash_hex(reader.take(32))}
    count = reader.compact()
    hashes = _hashes(reader.take(32 * count))
    reader.end()
    return {**fields, **_list("headers", count, hashes)}


_READERS: Mapping[str, Callable[[bytes], Fields]] = {
    "addr": _addr, "addrv2": _addrv2, "block": _block, "blocktxn": _blocktxn, "cfcheckpt": _cfcheckpt,
    "cfheaders": _cfheaders, "cfilter": _cfilter, "cmpctblock": _cmpctblock, "feature": _feature,
    "feefilter": _feefilter, "filteradd": _filteradd, "filterload": _filterload, "getblocks": _locator("getblocks"),
    "getblocktxn": _getblocktxn, "getcfcheckpt": _getcf("getcfcheckpt", False),
    "getcfheaders": _getcf("getcfheaders", True), "getcfilters": _getcf("getcfilters", True),
    "getdata": _inventory("getdata"), "getheaders": _locator("getheaders"), "headers": _headers,
    "inv": _inventory("inv"), "merkleblock": _merkleblock, "notfound": _inventory("notfound"), "ping": _nonce,
    "pong": _nonce, "reject": _reject, "sendcmpct": _sendcmpct, "sendtxrcncl": _sendtxrcncl, "tx": _transaction,
    "version": _version,
}  # fmt: skip
