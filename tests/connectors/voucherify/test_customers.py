"""A customer as a row of the replica, and what of them a till may be shown."""

from datetime import date

import pytest

from agent.connectors.voucherify.customers import change_of, customer_id, instant_of, kept_of, member_number
from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.errors import VendorUnreachableError

TODAY = date(2026, 2, 14)
ID, MEMBER, PHONE, MAIL = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.EMAIL,
)
ALMA = {
    "id": "cust_eWgXlBBiY6THFRJwX45Iakv4",
    "source_id": "10000421",
    "name": "Alma Ekvall",
    "email": "Alma@Example.com",
    "phone": "070-174 06 05",
    "birthdate": "1988-03-14",
    "address": {
        "line_1": "Exempelgatan 7",
        "city": "Stockholm",
        "postal_code": "111 22",
        "country": "SE",
        "state": None,
    },
    "metadata": {"shoe_size": 43, "first_name": "Alma", "vip": True, "sizes": [1, 2]},
    "loyalty": {"points": 120, "campaigns": {}},
    "created_at": "2026-01-05T09:00:00.000Z",
    "object": "customer",
}


def read(customer, *fields):
    return change_of(customer, Normaliser("SE", guid_contact_ids=False), fields, today=TODAY)


def test_a_whole_customer():
    """Each key in its one form; the row is the whole contact: what is absent is cleared."""
    assert read(ALMA, "name", "points") == ContactChange(
        ChangeKind.UPSERT,
        {ID: ALMA["id"], MEMBER: "10000421", PHONE: "+46701740605", MAIL: "alma@example.com"},
        {"name": "Alma Ekvall", "points": "120"},
        full_row=True,
    )


@pytest.mark.parametrize(
    ("change", "kind", "expected"),
    [
        ({"phone": "not a phone"}, PHONE, None),
        ({"phone": " "}, PHONE, None),
        ({"phone": 46701740605}, PHONE, None),
        ({"email": "alma at example.com"}, MAIL, None),
        ({"email": None}, MAIL, None),
        ({"source_id": None}, MEMBER, None),
        ({"source_id": "alma@example.com"}, MEMBER, None),
        ({"source_id": "1000 0421"}, MEMBER, None),
        ({"source_id": "A/1:b-c"}, MEMBER, "A/1:b-c"),
    ],
)
def test_what_cannot_be_of_its_type_is_cleared(change, kind, expected):
    """One customer's mistyped number holds up nobody, and a key that no till can say is none."""
    assert read({**ALMA, **change}).identifiers[kind] == expected


@pytest.mark.parametrize("customer", [None, [], "cust_1", {}, {"id": 7}, {"id": ""}, {"id": "no id"}, {"id": "x" * 65}])
def test_what_is_no_customer(customer):
    """Nobody is made of it."""
    with pytest.raises(VendorUnreachableError):
        customer_id(customer)


def test_what_a_till_may_be_shown():
    """The known places, else the project's own metadata; never an object or a list."""
    wanted = (
        "street",
        "zip_code",
        "city",
        "country_code",
        "state",
        "birth_date",
        "first_name",
        "shoe_size",
        "vip",
        "sizes",
    )
    assert kept_of(ALMA, wanted) == {
        "street": "Exempelgatan 7", "zip_code": "111 22", "city": "Stockholm", "country_code": "SE", "state": None,
        "birth_date": "1988-03-14", "first_name": "Alma", "shoe_size": "43", "vip": "true", "sizes": None,
    }  # fmt: skip
    assert kept_of({"id": "cust_1", "address": "Exempelgatan 7", "metadata": None}, wanted) == dict.fromkeys(wanted)


def test_a_member_number_is_spelt_as_the_vendor_spells_it():
    """It goes back to them as it is."""
    assert member_number({"source_id": "00Ab-7"}) == "00Ab-7"


@pytest.mark.parametrize("text", ["lately", "2026-01-05T09:00:00", 7])
def test_an_instant_that_is_none(text):
    """The list cannot be walked by it."""
    with pytest.raises(VendorUnreachableError):
        instant_of({"created_at": text}, "created_at")
    assert instant_of({}, "updated_at") is None


def test_half_a_character():
    """JSON can spell half a surrogate pair, and nothing else can keep it: what is said of a customer never has one."""
    [kept] = kept_of({**ALMA, "name": "Alma \ud83d"}, ("name",)).values()
    assert kept == "Alma ?"
