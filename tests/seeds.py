"""Which examples the long state machines try: the same in each run, so that what fails was broken by the change."""

import os

SEED = int(os.environ.get("SEED") or 20_261_122)
"""Told when it fails. `make soak` draws another one each time: that is for finding what nobody has thought of."""
