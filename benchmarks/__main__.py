"""`python -m benchmarks [NAME...]`: runs the benchmarks named, or all but the long ones.

Prints figures, ratios and what was missed.

The exit status is 1 where a target was missed or a benchmark failed, 2 for a name that there is not.
"""

from __future__ import annotations

import importlib
import platform
import sys
import traceback

from benchmarks.figures import Row, table

NAMES = ("messages", "inventory", "hop", "headers", "blocks", "sessions", "startup", "simulation", "dht", "admin")
LONG = ("simulation_large",)
"""Run only where they are named."""


def main(names: list[str]) -> int:
    """Run them."""
    wrong = [name for name in names if name not in (*NAMES, *LONG)]
    if wrong:
        print(f"error: no benchmark {', '.join(wrong)}; there are {', '.join((*NAMES, *LONG))}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    broken: list[str] = []
    for name in names or NAMES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            found: list[Row] = importlib.import_module(f"benchmarks.{name}").run()
        except Exception:  # noqa: BLE001 - the others are still worth their minutes
            traceback.print_exc()
            broken.append(name)
            continue
        for row in found:
            print("  " + " ".join(cell for cell in row.text() if cell), file=sys.stderr, flush=True)
        rows += found
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}\n")
    print(table(rows))
    missed = [row.what for row in rows if row.met is False]
    if missed:
        print(f"\nmissed: {'; '.join(missed)}")
    if broken:
        print(f"\nnot measured, see the error above: {', '.join(broken)}")
    return 1 if missed or broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
