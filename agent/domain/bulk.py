"""Several new contacts in one call to the vendor: how many fit, and what of its word about them is believed. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BulkCall:
    """A call with several contacts, whose end is not known yet.

    Attributes:
        number: the record's.
        vendor_id: what the vendor calls it; None where it went out, or was about to, and no answer is on record.
        size: how many contacts stand in it.
    """

    number: int
    vendor_id: str | None
    size: int


@dataclass(frozen=True, slots=True)
class BulkSent:
    """The vendor's answer to a call.

    Attributes:
        vendor_id: what it calls it; None where it does not take it and has none of the rows.
        status: its status.
        vendor_code: its own name for why it does not take it.
    """

    vendor_id: str | None
    status: int
    vendor_code: str | None = None


@dataclass(frozen=True, slots=True)
class RowWord:
    """The vendor's word about one row of a call.

    Attributes:
        made: it says that it has made the contact. If not, it is looked up why: the contact may be there already.
        key: the value by which it names the row; None where it names it by its place alone.
    """

    made: bool
    key: str | None = field(default=None, repr=False)


def fitting(rows: Sequence[bytes], *, max_rows: int, max_bytes: int) -> int:
    """How many of the first rows go into one call; at least one, where there is one."""
    total = 0
    for count, row in enumerate(rows):
        total += len(row) + 1
        if count == max_rows or (total > max_bytes and count > 0):
            return count
    return len(rows)


def believed(words: Sequence[RowWord], keys: Mapping[int, str | None]) -> Sequence[RowWord]:
    """The vendor's words as far as they are about our rows.

    Where one names another key than the row in its place has, the places are not what we take them for: nothing is
    believed then, and each contact is looked up.

    Args:
        words: one a row, in our order.
        keys: of the rows that are on record still, what the vendor would name them by.
    """
    for place, word in enumerate(words):
        if word.key is None or place not in keys:
            continue
        ours = keys[place]
        if ours is None or word.key.strip().casefold() != ours.casefold():
            return [RowWord(made=False)] * len(words)
    return words
