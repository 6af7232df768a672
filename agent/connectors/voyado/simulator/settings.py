"""Everything about a simulated Voyado Engage tenant that a test, a demo or a POS vendor may want different.

Where Voyado's documentation leaves a behaviour open it is a knob here, with the most likely reading as its default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

EXPORT_FIELDS = (
    "firstName",
    "lastName",
    "memberNumber",
    "externalId",
    "email",
    "mobilePhone",
    "street",
    "zipCode",
    "city",
    "countryCode",
    "birthDay",
    "gender",
    "createdInStore",
    "store",
    "acceptsEmail",
    "acceptsSms",
    "acceptsPostal",
    "secrecyMarked",
)


@dataclass(frozen=True, kw_only=True)
class SimulatorSettings:
    """A tenant's configuration and the simulator's own knobs.

    Attributes:
        root: Directory that stands in for the SFTP account; files appear under `<root>/integration/`.
        api_keys: Keys that are accepted from the start; more, and limits on where they come from, through
            `POST /_sim/keys`.
        key_header: Name of the header that carries the key.
        stores: External ids of the stores that exist from the start.
        contact_types: Contact type to the attribute that is its key. `Member` must be among them.
        custom_key: Attribute that `customKey` looks in; None makes such a look-up a 500 `InvalidSystemConfiguration`.
        custom_attributes: Attribute names beyond Voyado's standard ones; anything else in a write is ignored silently.
        calling_code: Country calling code assumed for a phone number written without one.
        existing_key: Creating a contact whose key exists: `conflict` answers 409, `return` answers 200 with the contact
            found first (the two readings of Voyado's texts).
        create_timeout_s: Injected latency beyond this makes a v3 create answer 504 and store nothing.
        warn_rate: Requests a second and key above which the tenant's warning counter runs.
        hard_rate: Requests a second and key above which the answer is 429; None lifts the limit. Seconds are the
            tenant's: a clock that stands still lets this many through and no more.
        changes_cap: Ids that `/contacts/changes` gives at most; more is a 400.
        bulk_cap: Rows that a bulk request holds at most; more is a 400.
        bulk_delay_s: Seconds between accepting a bulk request and carrying it out; 0 carries it out at once.
        receipt_interval_s: Seconds between imports of posted receipts and of uploaded files; 0 imports each receipt as
            it arrives, None only by hand.
        receipt_status: Status of an accepted receipt.
        check_totals: Refuse a receipt whose total differs from the signed sum of its lines.
        ambiguous: What the import does with a receipt whose key fits several contacts.
        currency: The tenant's group currency.
        points_per_unit: Points for one unit of group currency on lines that award points.
        voucher_threshold: Points that turn into a voucher; None issues none.
        voucher_value: Worth of such a voucher, in group currency.
        export_interval_s: Seconds between contact exports; None only by hand.
        export_folder: Folder of the contact export below `integration/`.
        export_name: Last part of an export file's name.
        export_fields: Attributes a full row carries, in order, after `contactId`.
        split_at: Contacts in one export file at most.
        omit_namespace: Write the root element without its namespace, as a tenant's XSLT may.
        container_names: Element around new, updated and deleted members; an empty name writes the members without one.
        member_element: Element of one member.
        sparse_updates: Write only the changed attributes of an updated member rather than the full row.
        slow_writer: Write export files in several pieces, one with each `run_due` or `advance`, so that readers meet
            half-written ones.
        slow_writer_pieces: How many pieces a slowly written file takes.
        contact_import_folder: Folder below `integration/` that contact files are uploaded to.

    Raises:
        ValueError: A value is outside its range.
    """

    root: Path
    api_keys: tuple[str, ...] = ("sim-key",)
    key_header: str = "apikey"
    stores: tuple[str, ...] = ("1041", "1042", "1043")
    contact_types: Mapping[str, str] = field(default_factory=lambda: {"Member": "mobilePhone", "Contact": "email"})
    custom_key: Literal["memberNumber", "externalId"] | None = "memberNumber"
    custom_attributes: tuple[str, ...] = ()
    calling_code: str = "46"
    existing_key: Literal["conflict", "return"] = "conflict"
    create_timeout_s: float = 5.0
    warn_rate: int = 50
    hard_rate: int | None = 200
    changes_cap: int = 250_000
    bulk_cap: int = 4_000
    bulk_delay_s: float = 0.0
    receipt_interval_s: float | None = 900.0
    receipt_status: int = 202
    check_totals: bool = True
    ambiguous: Literal["drop", "first", "newest"] = "drop"
    currency: str = "SEK"
    points_per_unit: float = 1.0
    voucher_threshold: int | None = 2_500
    voucher_value: float = 50.0
    export_interval_s: float | None = 3_600.0
    export_folder: str = "customerExport"
    export_name: str = "members"
    export_fields: tuple[str, ...] = EXPORT_FIELDS
    split_at: int = 10_000
    omit_namespace: bool = False
    container_names: Mapping[str, str] = field(
        default_factory=lambda: {"new": "new", "updated": "updated", "deleted": "deleted"},
    )
    member_element: str = "member"
    sparse_updates: bool = False
    slow_writer: bool = False
    slow_writer_pieces: int = 4
    contact_import_folder: str = "customerImport"

    def __post_init__(self) -> None:
        for name in ("split_at", "slow_writer_pieces", "changes_cap", "bulk_cap", "warn_rate"):
            _check(name, _is_count(getattr(self, name)), "a whole number from 1")
        for name in ("hard_rate", "voucher_threshold"):
            value = getattr(self, name)
            _check(name, value is None or _is_count(value), "null or a whole number from 1")
        for name in ("receipt_interval_s", "export_interval_s"):
            value = getattr(self, name)
            _check(name, value is None or _is_amount(value), "null or seconds from 0")
        for name in ("create_timeout_s", "bulk_delay_s", "points_per_unit", "voucher_value"):
            _check(name, _is_amount(getattr(self, name)), "a number from 0")
        for name in ("check_totals", "omit_namespace", "sparse_updates", "slow_writer"):
            _check(name, isinstance(getattr(self, name), bool), "true or false")
        for name, choices in _CHOICES.items():
            _check(name, getattr(self, name) in choices, f"one of {choices}")
        _check("contact_types", "Member" in self.contact_types, "Member must be among them")


_CHOICES = {
    "ambiguous": ("drop", "first", "newest"),
    "existing_key": ("conflict", "return"),
    "custom_key": ("memberNumber", "externalId", None),
}


def _check(name: str, fits: bool, wanted: str) -> None:  # noqa: FBT001 (a condition, not a switch)
    if not fits:
        raise ValueError(f"{name}: {wanted}")


def _is_amount(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
