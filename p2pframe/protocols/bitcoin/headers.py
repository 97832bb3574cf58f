"""The rules of block headers, as pure functions: proof of work, difficulty, time, version.

Nothing here reads a clock or keeps anything: what a header is judged by is the chain, the context that its parent
leaves (`HeaderContext`) and the time that the caller gives. Sources: Bitcoin Core's `src/pow.cpp` and
`ContextualCheckBlockHeader` in `src/validation.cpp`; BIP34, BIP65 and BIP66 for versions, BIP94 for testnet4, BIP113
for the median time.

Not checked, because it isn't in a header: transactions, scripts, witness commitments, signet's signature (BIP325).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import NamedTuple

from p2pframe.errors import P2PFrameError
from p2pframe.protocols.bitcoin.chains import MAXIMUM_FUTURE, MAXIMUM_TIMEWARP, Chain
from p2pframe.protocols.bitcoin.header import HEADER_SIZE, hash_hex, parse_header

MAXIMUM_HEADERS = 2000
"""Headers in one message."""
MEDIAN_SPAN = 11

_LINK_TIME_BITS = Struct("<i32s32xII4x")
_SPACE = 1 << 256


class HeaderError(P2PFrameError):
    """Headers were refused.

    Which one (`index` in what was given, from 0), by which `rule` (a short stable word), and why.

    `offence` is False where an honest peer may send such headers (ours is behind, or our clock is wrong): ask again
    later or elsewhere, and punish nobody.
    """

    offence = True

    def __init__(self, index: int, rule: str, detail: str) -> None:
        self.index = index
        self.rule = rule
        self.detail = detail
        super().__init__(f"header {index}: {rule}: {detail}")


class NotContinuous(HeaderError):
    """A header does not follow the one before it in the same message: the stream of headers makes no sense."""


class BadProofOfWork(HeaderError):
    """A header's hash does not meet the target that it claims, or its target can't be one."""


class RuleBroken(HeaderError):
    """A header breaks a rule of its chain: bits, time or version."""


class TimeTooNew(HeaderError):
    """A header is further ahead of our clock than allowed. It may be good later, and our clock may be the wrong one."""

    offence = False


class HeaderContext(NamedTuple):
    """What a chain of headers leaves to the next one.

    `hash`, `height`, `time` and `bits` are those of the last header; `times` those of the last eleven, oldest first.
    `period_time` and `period_bits` are of the first header of the last one's difficulty period. `ordinary_bits` is the
    last difficulty of that period which is not the exceptional minimum. `work` is the whole chain's.
    """

    hash: bytes
    height: int
    time: int
    bits: int
    times: tuple[int, ...]
    period_time: int
    period_bits: int
    ordinary_bits: int
    work: int


class HeaderRun(NamedTuple):
    """The good headers at the start of what was given.

    Their hashes, the total work up to each of them, the context after them, and what is wrong with the first that is
    not good (None where all are).
    """

    hashes: list[bytes]
    works: list[int]
    context: HeaderContext
    error: HeaderError | None


@lru_cache(maxsize=1024)
def decode_bits(bits: int) -> int:
    """The target of a compact form; 0, which no hash meets, where it is negative, zero or over 256 bits."""
    size, mantissa = bits >> 24, bits & 0x7FFFFF
    if bits & 0x800000 and mantissa:
        return 0
    target = mantissa >> 8 * (3 - size) if size <= 3 else mantissa << 8 * (size - 3)
    return target if target < _SPACE else 0


def encode_bits(target: int) -> int:
    """The compact form of a target, with what doesn't fit its 23 bits cut off."""
    size = (target.bit_length() + 7) // 8
    mantissa = target << 8 * (3 - size) if size <= 3 else target >> 8 * (size - 3)
    if mantissa & 0x800000:
        # That bit is the sign of the compact form: one byte less of mantissa instead.
        mantissa >>= 8
        size += 1
    return mantissa | size << 24


@lru_cache(maxsize=1024)
def work_of_bits(bits: int) -> int:
    """The expected number of hashes for that compact target; 0 where it can't be one."""
    target = decode_bits(bits)
    return _SPACE // (target + 1) if target else 0


def meets_target(hash: bytes, bits: int, pow_limit: int) -> bool:
    """Whether a hash is proof of the work that `bits` claims, and that is no less than the chain's least."""
    target = decode_bits(bits)
    return 0 < target <= pow_limit and int.from_bytes(hash, "little") <= target


def retarget(chain: Chain, first_time: int, last_time: int, base_bits: int) -> int:
    """The next period's bits.

    `base_bits` is the last header's, or under BIP94 the first one's, of the period that ends.

    The span counts 2015 intervals where it should count 2016: an old mistake that is a rule by now.
    """
    span = min(max(last_time - first_time, chain.target_timespan // 4), chain.target_timespan * 4)
    return encode_bits(min(decode_bits(base_bits) * span // chain.target_timespan, chain.pow_limit))


def next_bits(chain: Chain, context: HeaderContext, time: int) -> int:
    """The bits required of the header after `context`, if it carries that time."""
    if not chain.retargets:
        return context.bits
    if (context.height + 1) % chain.interval == 0:
        base = context.period_bits if chain.bip94 else context.bits
        return retarget(chain, context.period_time, context.time, base)
    if not chain.min_difficulty_blocks:
        return context.bits
    if time > context.time + 2 * chain.target_spacing:
        return chain.pow_limit_bits
    return context.ordinary_bits


def permitted_transition(chain: Chain, height: int, old_bits: int, new_bits: int) -> bool:
    """Whether `new_bits` at `height` may follow `old_bits`, whatever the times were (for presync, which keeps
    none).

    Chains with minimum difficulty blocks allow any.
    """
    if chain.min_difficulty_blocks:
        return True
    if not chain.retargets or height % chain.interval:
        return new_bits == old_bits
    old, new = decode_bits(old_bits), decode_bits(new_bits)
    # Both ends go through the compact form and back, which rounds them as the real retarget is rounded.
    easiest = decode_bits(encode_bits(min(old * 4, chain.pow_limit)))
    hardest = decode_bits(encode_bits(min(old // 4, chain.pow_limit)))
    return hardest <= new <= easiest


def median_time(times: tuple[int, ...]) -> int:
    """The median of the last (at most eleven) times: what the next header's time must be above (BIP113)."""
    return sorted(times[-MEDIAN_SPAN:])[len(times[-MEDIAN_SPAN:]) // 2]


def minimum_version(chain: Chain, height: int) -> int:
    """The least version of a header at that height.

    Versions 2, 3 and 4 became compulsory with BIP34, BIP66 and BIP65.
    """
    if height >= chain.bip65_height:
        return 4
    if height >= chain.bip66_height:
        return 3
    return 2 if height >= chain.bip34_height else -(1 << 31)


def genesis_context(chain: Chain) -> HeaderContext:
    """The context that the chain's first header leaves."""
    fields = parse_header(chain.genesis_header)
    return HeaderContext(
        hash=chain.genesis_hash,
        height=0,
        time=fields.time,
        bits=fields.bits,
        times=(fields.time,),
        period_time=fields.time,
        period_bits=fields.bits,
        ordinary_bits=fields.bits,
        work=work_of_bits(fields.bits),
    )


def check_headers(chain: Chain, headers: bytes) -> list[bytes]:
    """The hashes of headers that follow one another, each with the proof of work that it claims.

    What can be said without knowing what they follow. Raises `NotContinuous` or `BadProofOfWork`; ValueError where the
    length is not a multiple of 80.
    """
    view = _whole(headers)
    from_bytes, limit = int.from_bytes, chain.pow_limit
    hashes: list[bytes] = []
    last = None
    for index, (_, previous, _, bits) in enumerate(_LINK_TIME_BITS.iter_unpack(view)):
        if previous != last and last is not None:
            raise NotContinuous(index, "not-continuous", f"follows {hash_hex(previous)}, not {hash_hex(last)}")
        last = sha256(sha256(view[index * HEADER_SIZE : (index + 1) * HEADER_SIZE]).digest()).digest()
        target = decode_bits(bits)
        if not 0 < target <= limit or from_bytes(last, "little") > target:
            raise BadProofOfWork(index, "bad-proof-of-work", f"{hash_hex(last)} is no proof for bits {bits:08x}")
        hashes.append(last)
    return hashes


def claimed_work(headers: bytes) -> int:
    """The work that headers claim by their bits. Believe it after `check_headers` only."""
    return sum(work_of_bits(fields[3]) for fields in _LINK_TIME_BITS.iter_unpack(_whole(headers)))


def validate_headers(chain: Chain, context: HeaderContext, headers: bytes, now: float | None) -> HeaderRun:
    """Headers (80 bytes each, one after another) judged by every rule; `now` in unix seconds.

    Raises the `HeaderError` of the first that is wrong; the result's `error` is None. ValueError where the length is
    not a multiple of 80.
    """
    run = run_headers(chain, context, headers, now)
    if run.error is not None:
        raise run.error
    return run


def run_headers(chain: Chain, context: HeaderContext, headers: bytes, now: float | None) -> HeaderRun:
    """As `validate_headers`, but gives the good ones before the first mistake.

    `now` None: times may be ahead (for headers of our own disk, judged when they came).

    The bulk path: no object a header but its hash. A sorted median is needed only where a time goes back: the median of
    a window that ends in a valid header is never above that header's own time.
    """
    view = _whole(headers)
    hashes: list[bytes] = []
    works: list[int] = []
    hashed, worked = hashes.append, works.append
    digest, from_bytes = sha256, int.from_bytes
    last, height, last_time, last_bits, known_times, period_time, period_bits, ordinary, work = context
    times = list(known_times)
    timed = times.append
    latest = float("inf") if now is None else now + MAXIMUM_FUTURE
    interval = chain.interval
    exceptions = chain.retargets and chain.min_difficulty_blocks
    limit_bits, exception_after = chain.pow_limit_bits, 2 * chain.target_spacing
    least_version = minimum_version(chain, height + 1)
    event = _next_event(chain, height)
    expected = ordinary if exceptions else last_bits
    required_bits, target, step = -1, 0, 0
    error: HeaderError | None = None
    position = 0
    for version, previous, time, bits in _LINK_TIME_BITS.iter_unpack(view):
        if previous != last:
            detail = f"follows {hash_hex(previous)}, not {hash_hex(last)}"
            error = NotContinuous(len(hashes), "not-continuous", detail)
            break
        height += 1
        required = expected
        if exceptions and time > last_time + exception_after:
            required = limit_bits
        if height == event:
            least_version = minimum_version(chain, height)
            if chain.retargets and height % interval == 0:
                required = retarget(chain, period_time, last_time, period_bits if chain.bip94 else last_bits)
                if chain.bip94 and time < last_time - MAXIMUM_TIMEWARP:
                    detail = f"time {time} of a period's first header is over {MAXIMUM_TIMEWARP} s before {last_time}"
                    error = RuleBroken(len(hashes), "timewarp", detail)
                    break
            event = _next_event(chain, height)
        if bits != required:
            error = RuleBroken(len(hashes), "bad-bits", f"bits {bits:08x} where {required:08x} is required")
            break
        if bits != required_bits:
            required_bits, target, step = bits, decode_bits(bits), work_of_bits(bits)
        last = digest(digest(view[position : position + 80]).digest()).digest()
        if from_bytes(last, "little") > target:
            detail = f"{hash_hex(last)} is no proof for bits {bits:08x}"
            error = BadProofOfWork(len(hashes), "bad-proof-of-work", detail)
            break
        if time <= last_time and time <= median_time(tuple(times[-MEDIAN_SPAN:])):
            error = RuleBroken(len(hashes), "time-too-old", f"time {time} is not above the median of the last 11")
            break
        if time > latest:
            error = TimeTooNew(len(hashes), "time-too-new", f"time {time} is over 2 hours ahead of {now}")
            break
        if version < least_version:
            error = RuleBroken(len(hashes), "bad-version", f"version {version} where {least_version} is the least")
            break
        position += 80
        if expected != bits and (bits != limit_bits or not exceptions or height % interval == 0):
            expected = bits
        if height % interval == 0:
            period_time, period_bits = time, bits
        work += step
        last_time = time
        last_bits = bits
        timed(time)
        hashed(last)
        worked(work)
    if not hashes:
        return HeaderRun(hashes, works, context, error)
    after = HeaderContext(
        hash=hashes[-1],
        height=context.height + len(hashes),
        time=last_time,
        bits=last_bits,
        times=tuple(times[-MEDIAN_SPAN:]),
        period_time=period_time,
        period_bits=period_bits,
        ordinary_bits=expected,
        work=work,
    )
    return HeaderRun(hashes, works, after, error)


def _next_event(chain: Chain, height: int) -> int:
    """The next height above `height` at which a rule changes: a new period or a new least version."""
    period = (height // chain.interval + 1) * chain.interval
    heights = (chain.bip34_height, chain.bip66_height, chain.bip65_height)
    return min([period, *(h for h in heights if h > height)])


def _whole(headers: bytes) -> bytes:
    if len(headers) % HEADER_SIZE:
        raise ValueError(f"{len(headers)} bytes are no whole number of headers of {HEADER_SIZE} bytes")
    return bytes(headers)
