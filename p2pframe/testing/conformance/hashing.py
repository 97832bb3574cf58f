"""One check in two processes of different PYTHONHASHSEED: what one process can't show, the order of a set.

The class travels by the file and name it is defined by, its config and options by pickle between processes of one user
that the test itself starts.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

from p2pframe.plugin import PluginConfig
from p2pframe.testing.conformance.bench import NonConformance, source_of

_SEEDS = ("1", "2")
_TIME_LIMIT = 120.0


def under_two_hash_seeds(
    cls: type[Any], config: Mapping[str, object] | PluginConfig | None, options: Mapping[str, Any]
) -> None:
    """Raise `NonConformance` where two processes do not leave the same trace.

    Raises ValueError for a class or function that no other process could find.
    """
    plain = dict(config.model_dump() if isinstance(config, PluginConfig) else config or {})
    parcel = pickle.dumps((_Named.of(cls), plain, {name: _Named.wrap(value) for name, value in options.items()}))
    traces = _in_processes(parcel)
    if len(set(traces)) != 1:
        raise NonConformance(
            f"{cls.__module__}.{cls.__qualname__}",
            "the trace",
            "two instances in equal worlds given the same calls do the same, under any PYTHONHASHSEED",
            f"PYTHONHASHSEED {_SEEDS[0]} gives {traces[0][:16]}, {_SEEDS[1]} {traces[1][:16]}: is a set iterated?",
        )


class _Named:
    """A class or function by its file and name, so that another process can load it."""

    def __init__(self, path: str, module: str, name: str) -> None:
        self.path = path
        self.module = module
        self.name = name

    @classmethod
    def of(cls, thing: Any) -> _Named:
        """Raises ValueError for what is defined inside a function."""
        name = thing.__qualname__
        if "<" in name:
            raise ValueError(f"{thing.__module__}.{name} is defined inside a function: no other process can load it")
        path = thing.__code__.co_filename if isinstance(thing, FunctionType) else source_of(thing)
        return cls(str(Path(path).resolve()), thing.__module__, name)

    @classmethod
    def wrap(cls, value: Any) -> Any:
        """A function or class by name, anything else as it is."""
        return cls.of(value) if isinstance(value, (FunctionType, type)) else value

    def load(self) -> Any:
        """Import it: as a module of a package where it is one, else from its file."""
        found: Any = sys.modules.get(self.module)
        if found is None and self.module.startswith("p2pframe."):
            found = importlib.import_module(self.module)
        if found is None:
            spec = importlib.util.spec_from_file_location(self.module, self.path)
            assert spec is not None and spec.loader is not None
            found = importlib.util.module_from_spec(spec)
            sys.modules[self.module] = found
            spec.loader.exec_module(found)
        for part in self.name.split("."):
            found = getattr(found, part)
        return found


def _in_processes(parcel: bytes) -> list[str]:
    """What each process says, both at work at the same time. AssertionError where one fails."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-c", "from p2pframe.testing.conformance.hashing import main; main()"]
    started = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
        )
        for seed in _SEEDS
    ]
    try:
        for process in started:
            assert process.stdin is not None
            process.stdin.write(parcel)
            process.stdin.close()
            process.stdin = None
        said = [process.communicate(timeout=_TIME_LIMIT) for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.communicate()
    for seed, process, (_, errors) in zip(_SEEDS, started, said, strict=True):
        if process.returncode:
            raise AssertionError(f"PYTHONHASHSEED={seed}: {errors.decode(errors='replace')[-2000:]}")
    return [output.decode().strip() for output, _ in said]


def main() -> None:
    """What runs in each of the processes: read the parcel, check, and write the trace."""
    from p2pframe.testing.conformance import check

    named, config, options = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - written by the process that started us
    loaded = {name: value.load() if isinstance(value, _Named) else value for name, value in options.items()}
    sys.stdout.write(check(named.load(), config, **loaded))
