"""Made-up people whose every value is found in any run of bytes, and the search for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ZAPHIRA: dict[str, Any] = {  # a member
    "firstName": "Zaphira",
    "lastName": "Kvistgren",
    "mobilePhone": "+46701740699",
    "email": "zaphira.kvistgren@example.com",
    "street": "Mossbergsklinten 77",
    "birthDay": "1931-03-14",
    "socialSecurityNumber": "19310314-2380",
    "externalId": "yttre-zaph-7",
    "cardId": "KORT99Z77",
}
YLVALI: dict[str, Any] = {  # becomes one at the till
    "first_name": "Ylvali",
    "last_name": "Torpmark",
    "mobile_phone": "070-174 06 98",
    "email": "ylvali.torpmark@example.com",
    "personal_number": "320823-2391",
    "street": "Fjärdhaltsstigen 5",
    "birth_date": "1932-08-23",
    "preferences": {"accepts_email": True},
    "consents": [
        {"id": "memberTerms", "value": True, "given_at": "2026-02-14T16:40:00+01:00", "place": "Kassa Ugglan"}
    ],
    "attributes": {"shoeSize": "Storlek-trettiosju"},
}
NUMBER = "90817263"
"""The member number that she gets: :func:`enrol`."""
SAID: dict[str, Any] = {  # what a till says of anybody
    "cashier_id": "kassa-Xylofia",
    "vouchers_used": [{"number": "7700112233445"}],
    "offers_used": [{"offer_id": "erbjudande-4711"}],
    "payments": [
        {"type": "card", "amount": "200.00", "reference": "kort-5566"},
        {"type": "voucher", "amount": "50.00", "reference": "7700112233445"},
    ],
}
OF_ZAPHIRA = (
    *("zaphira", "kvistgren", "mossbergsklinten", "1931-03-14", "701740699", "070-174 06 99", NUMBER),
    *("3103142380", "310314-2380", "yttre-zaph-7", "kort99z77"),
    *("7700112233445", "erbjudande-4711", "kassa-xylofia", "kort-5566"),
)
OF_OTHERS = (
    *("ylvali", "torpmark", "fjärdhaltsstigen", "1932-08-23", "701740698", "070-174 06 98", "ugglan"),
    *("3208232391", "320823-2391", "storlek-trettiosju"),
    *("701740697", "070-174 06 97", "pippin.nobody", "701740696", "qvintilla"),  # nobody's, and a discard's reason
)
EVERYBODY = OF_ZAPHIRA + OF_OTHERS


def enrol(vendor: Any) -> Any:
    """Makes Zaphira a member with her number, and exports her."""
    with vendor.sim.lock:
        vendor.sim.state.next_member_number = int(NUMBER)
    contact = vendor.enrol(**ZAPHIRA)
    vendor.sim.export_now()
    return contact


def found_in(content: bytes, canaries: tuple[str, ...]) -> set[str]:
    """The canaries in a run of bytes, whatever their case, in UTF-8 or UTF-16."""
    content = content.lower()
    return {canary for canary in canaries if canary.encode() in content or canary.encode("utf-16-le") in content}


def left_in(directory: Path, canaries: tuple[str, ...]) -> dict[str, set[str]]:
    """The canaries in each file of a directory and its path; a log is read before what it is written back into."""
    found = {}
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_file() and (traces := found_in(path.read_bytes() + str(path).encode(), canaries)):
            found[str(path.relative_to(directory))] = traces
    return found
