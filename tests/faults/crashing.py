"""Runs the installed agent with faults of its own that carry a person in their texts: `python crashing.py COMMAND ...`.

A look-up, a delivery and the reading of an export fail on whoever is called Zaphira, with an exception that says all
about them, as a mistake in the program would. In the processes that the agent starts, too.
"""

from __future__ import annotations

import sys

from agent.__main__ import main
from agent.connectors.voyado import sender
from agent.connectors.voyado.fields import RowReader
from agent.services.identify import Identify

CRASH_PHONE = "+46701740696"


class MistakeError(Exception):
    """A mistake of the program's own."""


def _identify(self, statement, _identify=Identify.identify):
    if "701740696" in statement.value:
        raise MistakeError(f"nobody thought of Zaphira Kvistgren with {statement!r} {statement.value}")
    return _identify(self, statement)


def _render(sale, key, *args, _render=sender.render_receipt, **kwargs):
    if sale.transaction_id.startswith("crash"):
        raise MistakeError(f"cannot render {sale} for {key.value}: Zaphira Kvistgren, kassa-Xylofia")
    return _render(sale, key, *args, **kwargs)


def _change(self, row, *args, _change=RowReader.change, **kwargs):
    if row.get("mobile_phone") == CRASH_PHONE:
        raise MistakeError(f"cannot read {row}")
    return _change(self, row, *args, **kwargs)


Identify.identify, sender.render_receipt, RowReader.change = _identify, _render, _change

if __name__ == "__main__":  # not by running the command's own file: what it starts imports this one
    sys.argv = sys.argv[1:]
    sys.exit(main())
