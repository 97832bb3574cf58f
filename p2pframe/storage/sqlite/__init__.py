"""The embedded storage engine: SQLite for keys, plain files for blobs, written behind and committed in groups.

`engine` is the plugin, `store` one folder of it with what waits to be written, `namespace` and `blob` what plugins
hold, `database` the SQL and its schema, `disk` every touch of the file system, `worker` the one thread at a time.
"""

from __future__ import annotations

from p2pframe.storage.sqlite.engine import SqliteConfig, SqliteStorage

__all__ = ["SqliteConfig", "SqliteStorage"]
