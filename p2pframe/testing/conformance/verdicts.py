"""What every verdict has to be, whoever gives it: allowed, or an action with a rule, a stable reason and evidence."""

from __future__ import annotations

import re
from math import isfinite
from typing import Any

from p2pframe.model import Action, Verdict
from p2pframe.testing.conformance.bench import Bench

LONGEST_EVIDENCE = 4096
"""Characters: evidence is shown and logged, and a peer may have written it."""

_REASON = re.compile(r"[a-z][a-z0-9._-]*\Z")
_QUOTE = "What a rule decided about a peer, always with a reason (a stable word) and the evidence (for people)."


def check_verdict(bench: Bench, method: str, sentence: str, verdict: Any, of: str) -> None:
    """Raise `NonConformance` for an answer that is no verdict, or one that does not say why; `of` is what it judges."""
    bench.require(isinstance(verdict, Verdict), method, sentence, lambda: f"it answers {verdict!r:.200} to {of}")
    if verdict.action is Action.ALLOW:
        return
    where = f"{bench.interface.__name__}.{method}"
    bench.rule(
        isinstance(verdict.action, Action) and _REASON.match(verdict.reason), where, _QUOTE,
        lambda: f"{verdict.action!r} with the reason {verdict.reason!r:.200} for {of}",
    )  # fmt: skip
    bench.rule(
        verdict.rule, where, "`rule` names who decided: `gate.ban`, `authentication.version`, `scoring.behaviour`.",
        lambda: f"no rule is named for {of}",
    )  # fmt: skip
    bench.rule(
        len(verdict.evidence) <= LONGEST_EVIDENCE, where, "what a peer wrote is shown within a bound",
        lambda: f"{len(verdict.evidence)} characters of evidence for {of}",
    )  # fmt: skip
    bench.rule(
        verdict.duration is None or (isfinite(verdict.duration) and verdict.duration > 0), where,
        "`duration` is in seconds and matters to `Action.BAN` only; None means the node's default.",
        lambda: f"a duration of {verdict.duration!r} for {of}",
    )  # fmt: skip
