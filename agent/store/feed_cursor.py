"""Where an API feed stands, as its cursor says it, and who is taken out of that when they are erased.

A cursor is its connector's own, but for one thing: contacts that have still to be asked for stand in it by their ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable


def without(cursor: str, gone: Callable[[str], bool]) -> str:
    """The cursor without the contacts who are ``gone``, told by their ids; itself where it names none of them.

    What stands alone goes as well as what stands in a list: a place in a list of ids is one, and the feed then reads
    that list anew. The mark of a planted list is no cursor, and names nobody.
    """
    try:
        values = json.loads(cursor)
    except ValueError:
        return cursor
    if not isinstance(values, dict):
        return cursor
    kept = {
        name: [one for one in value if not _is(one, gone)] if isinstance(value, list) else value
        for name, value in values.items()
        if not _is(value, gone)
    }
    return cursor if kept == values else json.dumps(kept)


def _is(value: object, gone: Callable[[str], bool]) -> bool:
    return isinstance(value, str) and gone(value)
