"""The till's door: the localhost HTTP API that POS software calls, and the staff page. Contract: docs/till-api.md."""
