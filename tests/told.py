"""A replica whose owner is told of every write, as the sync tells it."""

from __future__ import annotations

from agent.store.replica import SqliteReplica


class ToldReplica(SqliteReplica):
    """Reads size and freshness anew each time."""

    def info(self):
        self.refresh()
        return super().info()
