"""A file system that really refuses.

The size limit of files, set for a process of its own, stands in for a full disk.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

FILL = r"""
import resource, signal, sys
from pathlib import Path
from p2pframe.errors import StorageError
from p2pframe.storage.sqlite import SqliteConfig, SqliteStorage
from p2pframe.testing.context import FakeContext, result_of

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
context = FakeContext("storage.sqlite", "", data_dir=Path(sys.argv[1]))
engine = SqliteStorage(SqliteConfig(free_space=0), context)
result_of(engine.start())
space = engine.namespace("", "core.bans")
result_of(space.write([(b"before", b"1")], durable=True))
if sys.argv[2] == "blob":
    space.blob("x").append(b"before")
    result_of(space.flush())
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
errors, written = [], 0
while not errors:
    try:
        if sys.argv[2] == "blob":
            space.blob("x").append(bytes(50_000))
            result_of(space.flush())
        else:
            result_of(space.write([(b"%d" % written, bytes(20_000))], durable=True))
        written += 1
    except StorageError as error:
        errors.append(error)
print(type(errors[0]).__name__, errors[0])
assert written
assert result_of(space.get(b"before")) == b"1"
assert sys.argv[2] == "blob" or len(result_of(space.scan())) == written + 1
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
context.reactor.advance(60)
result_of(space.write([(b"after", b"1")], durable=True))
result_of(engine.stop())

engine = SqliteStorage(SqliteConfig(free_space=0), FakeContext("storage.sqlite", "", data_dir=Path(sys.argv[1])))
result_of(engine.start())
assert engine.clean_start
space = engine.namespace("", "core.bans")
assert result_of(space.get(b"before")) == result_of(space.get(b"after")) == b"1"
if sys.argv[2] == "blob":
    assert space.blob("x").size == 6 + 50_000 * (written + 1), "what waited in memory was written when it could be"
result_of(engine.stop())
print("recovered")
"""


def fill(path: Path, what: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", FILL, str(path), what], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.endswith("recovered\n"), result.stdout + result.stderr
    return result.stdout


def test_a_database_that_may_not_grow(tmp_path: Path) -> None:
    out = fill(tmp_path, "keys")
    assert out.startswith("Storage") and "keys.sqlite" in out


def test_a_blob_that_may_not_grow(tmp_path: Path) -> None:
    out = fill(tmp_path, "blob")
    assert out.startswith("StorageFull") and "free some space" in out
