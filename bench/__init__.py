"""Benches: each prints its limit, measured in the same run on the same machine, beside what the agent does."""
