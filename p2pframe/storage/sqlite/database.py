"""The SQL: one database of ordered keys, its schema, its checks. Everything here runs on a worker thread.

Schema 1 wrote the network and the owner beside every key. Schema 2 gives each namespace a number: a third less on disk
for short keys. `PRAGMA user_version` holds the number; an earlier schema is brought up in one transaction, a newer one
is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from p2pframe.errors import StartError, StorageCorrupt
from p2pframe.storage.sqlite.disk import Disk, explained

SCHEMA = 2

_CREATE = (
    "CREATE TABLE namespaces (id INTEGER PRIMARY KEY, network TEXT NOT NULL, owner TEXT NOT NULL, UNIQUE (network, "
    "owner))",
    "CREATE TABLE entries (namespace INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
    " PRIMARY KEY (namespace, key)) WITHOUT ROWID",
)


def _number_namespaces(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE entries RENAME TO entries_1")
    for statement in _CREATE:
        connection.execute(statement)
    connection.execute(
        "INSERT INTO namespaces (network, owner) SELECT DISTINCT network, owner FROM entries_1 ORDER BY network, owner"
    )
    connection.execute(
        "INSERT INTO entries SELECT namespaces.id, entries_1.key, entries_1.value FROM entries_1"
        " JOIN namespaces USING (network, owner) ORDER BY namespaces.id, entries_1.key"
    )
    connection.execute("DROP TABLE entries_1")


MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = {1: _number_namespaces}
"""From each earlier schema to the next one."""

Name = tuple[str, str]
"""A namespace: network and owner."""
Changes = Iterable[tuple[bytes, bytes | None]]
"""The last word on each key: its value, or None for deleted."""


class Database:
    """An open database of namespaces."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self.upgraded_from: int | None = None
        self._ids: dict[Name, int] = {}

    @classmethod
    def open(cls, disk: Disk, path: Path, check: bool) -> Database:
        """Open, check (`check` after an unclean stop), migrate.

        Raises `StorageCorrupt`, `StorageError`, and `StartError` for what a newer version, or another program, has
        written.
        """
        with explained("opening", path):
            connection = disk.connect(path)
        database = cls(path, connection)
        try:
            with explained("opening", path):
                database._begin(check)
        except BaseException:
            connection.close()
            raise
        return database

    def _begin(self, check: bool) -> None:
        execute = self.connection.execute
        (version,) = execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise StartError(
                f"{self.path} has schema {version}, this version of p2pframe knows up to {SCHEMA}: run the version "
                "that wrote "
                "it, or a newer one, or choose another node.data_dir"
            )
        # Readers of a copy (a backup under way) never block the writer in WAL; FULL syncs the log at every commit.
        execute("PRAGMA journal_mode = WAL").fetchone()
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA temp_store = MEMORY")
        execute("PRAGMA cache_size = -16000")
        execute("PRAGMA journal_size_limit = 33554432")
        if check:
            found = [str(row[0]) for row in execute("PRAGMA quick_check(5)")]
            if found != ["ok"]:
                raise StorageCorrupt(f"{self.path}: {'; '.join(found)}")
        if version == 0 and execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise StartError(f"{self.path} was not written by p2pframe: move it away, or choose another node.data_dir")
        self._migrate(version)
        for number, network, owner in execute("SELECT id, network, owner FROM namespaces"):
            self._ids[network, owner] = number

    def _migrate(self, version: int) -> None:
        execute = self.connection.execute
        if 0 < version < SCHEMA:
            self.upgraded_from = version
        execute("BEGIN IMMEDIATE")
        try:
            if version == 0:
                for statement in _CREATE:
                    execute(statement)
            else:
                for step in range(version, SCHEMA):
                    MIGRATIONS[step](self.connection)
            # Written at every start, so that the log is there and its name is synced before anything is acknowledged.
            execute(f"PRAGMA user_version = {SCHEMA}")
            execute("COMMIT")
        except BaseException:
            self._rollback()
            raise

    def _rollback(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def get(self, name: Name, key: bytes) -> bytes | None:
        """The value, or None."""
        number = self._ids.get(name)
        if number is None:
            return None
        with explained("reading", self.path):
            row = self.connection.execute(
                "SELECT value FROM entries WHERE namespace = ? AND key = ?", (number, key)
            ).fetchone()
        return None if row is None else row[0]

    def scan(self, name: Name, start: bytes, end: bytes | None, limit: int | None) -> list[tuple[bytes, bytes]]:
        """Pairs with start <= key < end, in order, at most `limit`."""
        number = self._ids.get(name)
        if number is None:
            return []
        most = -1 if limit is None else limit
        with explained("reading", self.path):
            if end is None:
                rows = self.connection.execute(
                    "SELECT key, value FROM entries WHERE namespace = ? AND key >= ? ORDER BY key LIMIT ?",
                    (number, start, most),
                )
            else:
                rows = self.connection.execute(
                    "SELECT key, value FROM entries WHERE namespace = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
                    (number, start, end, most),
                )
            return rows.fetchall()

    def commit(self, changes: Iterable[tuple[Name, Changes]]) -> None:
        """One transaction, on disk when this returns; all of it or nothing."""
        with explained("writing", self.path):
            execute = self.connection.execute
            made: dict[Name, int] = {}
            execute("BEGIN IMMEDIATE")
            try:
                for name, pairs in changes:
                    number = self._ids.get(name)
                    if number is None:
                        cursor = execute("INSERT INTO namespaces (network, owner) VALUES (?, ?)", name)
                        number = made[name] = int(cursor.lastrowid or 0)
                    # In the order of the tree: neighbours share pages.
                    ordered = sorted(pairs)
                    self.connection.executemany(
                        "DELETE FROM entries WHERE namespace = ? AND key = ?",
                        [(number, key) for key, value in ordered if value is None],
                    )
                    self.connection.executemany(
                        "INSERT OR REPLACE INTO entries (namespace, key, value) VALUES (?, ?, ?)",
                        [(number, key, value) for key, value in ordered if value is not None],
                    )
                execute("COMMIT")
            except BaseException:
                self._rollback()
                raise
            self._ids.update(made)

    def close(self) -> None:
        """Close; the last connection brings the log into the database."""
        with explained("closing", self.path):
            self.connection.close()
