"""The only rooms that speak SQL: two databases, the outbox (irreplaceable) and the replica (can be fetched again)."""
