"""A customer as a row of the replica, and what of them a till may be shown, in both forms that Antavo has."""

from datetime import UTC, date, datetime

import pytest

from agent.connectors.antavo.customers import change_of, customer_id, instant_of, kept_of
from agent.connectors.antavo.occurrences import POINTS_ALONE, customers_in
from agent.domain.contact import ChangeKind, ContactChange
from agent.domain.identifiers import IdentifierType, Normaliser

TODAY = date(2026, 2, 14)
ID, MEMBER, CARD, EXTERNAL, PHONE, MAIL = (
    IdentifierType.CONTACT_ID,
    IdentifierType.MEMBER_NUMBER,
    IdentifierType.CARD_NUMBER,
    IdentifierType.EXTERNAL_ID,
    IdentifierType.MOBILE_PHONE,
    IdentifierType.EMAIL,
)
ALMA = {
    "id": "a222e90f-2c59-468d-9b81-62f560084379", "status": "active", "first_name": "Alma", "nickname": "Al",
    "email": "Alma@Example.com", "mobile_phone": "070-174 06 05", "membership_id": ["10000421", "77123456"],
    "score": 15673, "spent": 11117, "reserved": 0, "expired": 0, "spendable": 4556, "birth_date": "1988-03-14",
    "external_ids": {"crm_id": "X-1"}, "properties": {"shoe_size": 43, "vip": True, "sizes": [1, 2]},
    "tiers": [{"id": "t-1", "name": "Gold"}],
}  # fmt: skip
READ = {
    **{name: value for name, value in ALMA.items() if name not in ("id", "nickname", "spendable")},
    "_id": ALMA["id"], "handler": "Al", "tiers": {"t-1": {"id": "t-1", "name": "Gold"}},
}  # fmt: skip


def read(customer, *fields, field="crm_id"):
    normaliser = Normaliser("SE", guid_contact_ids=False)
    return change_of(customer, normaliser, fields, external_id_field=field, today=TODAY)


@pytest.mark.parametrize("customer", [ALMA, READ], ids=["Loyalty API", "Read API"])
def test_a_whole_customer(customer):
    """Each key in its one form; the row is the whole contact: what is absent is cleared."""
    assert read(customer, "first_name", "points", "member_level", "nickname") == ContactChange(
        ChangeKind.UPSERT,
        {
            ID: ALMA["id"], MEMBER: "10000421", CARD: "77123456", EXTERNAL: "X-1", PHONE: "+46701740605",
            MAIL: "alma@example.com",
        },
        {"first_name": "Alma", "points": "4556", "member_level": "Gold", "nickname": "Al"},
        full_row=True,
    )  # fmt: skip


@pytest.mark.parametrize("status", ["opted_out", "merged"])
def test_who_is_no_member_any_more(status):
    """They are taken out."""
    assert read({**ALMA, "status": status}) == ContactChange(ChangeKind.DELETE, {ID: ALMA["id"]})


@pytest.mark.parametrize("status", ["inactive", "banned", "suspended", "pending", None, 7])
def test_who_is_a_member_still(status):
    """A status that says nothing of leaving takes nobody out."""
    assert read({**ALMA, "status": status}).kind is ChangeKind.UPSERT


@pytest.mark.parametrize(
    ("change", "kind", "expected"),
    [
        ({"mobile_phone": "not a phone"}, PHONE, None),
        ({"mobile_phone": " "}, PHONE, None),
        ({"mobile_phone": ["+46701740605"]}, PHONE, None),
        ({"mobile_phone": "\ud83d"}, PHONE, None),
        ({"email": "alma at example.com"}, MAIL, None),
        ({"email": None}, MAIL, None),
        ({"membership_id": None}, MEMBER, None),
        ({"membership_id": []}, MEMBER, None),
        ({"membership_id": "10000421"}, MEMBER, "10000421"),
        ({"membership_id": 10000421}, MEMBER, "10000421"),
        ({"membership_id": ["1000 0421", "a./b", "\ud83d", "A/1:b-c"]}, MEMBER, "A/1:b-c"),
        ({"membership_id": ["7712", "A/1"]}, CARD, "7712"),
        ({"membership_id": [{}, None]}, CARD, None),
        ({"external_ids": {"crm_id": "ends."}}, EXTERNAL, None),
        ({"external_ids": {"crm_id": "\ud83d"}}, EXTERNAL, None),
        ({"external_ids": {"crm_id": "x" * 255}}, EXTERNAL, None),
        ({"external_ids": None, "crm_id": "X-2"}, EXTERNAL, "X-2"),
        ({"external_ids": {}, "properties": {"crm_id": 77}}, EXTERNAL, "77"),
    ],
)
def test_what_cannot_be_of_its_type_is_cleared(change, kind, expected):
    """One customer's mistyped number holds up nobody, and a key that no till can say is none."""
    assert read({**ALMA, **change}).identifiers[kind] == expected


def test_without_a_field_there_is_no_external_id():
    """Nothing is taken for one."""
    assert read(ALMA, field="").identifiers[EXTERNAL] is None


@pytest.mark.parametrize("customer", [{}, {"id": None}, {"id": ""}, {"id": ["c-1"]}, {"id": True}])
def test_what_is_no_customer(customer):
    """Nobody is made of it."""
    assert (customer_id(customer), read({**ALMA, "id": None, **customer})) == (None, None)


@pytest.mark.parametrize("name", ["no id", "x" * 65, "ends.", "a./b", "\ud83d", "Åsa"])
def test_an_id_that_nothing_can_carry(name):
    """It names nobody here, and is no error."""
    assert read({**ALMA, "id": name}) is None


@pytest.mark.parametrize(
    ("change", "points"),
    [
        ({"spendable": "4556.50"}, "4556.5"),
        ({"spendable": 4500}, "4500"),
        ({"spendable": None}, "4556"),
        ({"spendable": "many"}, "4556"),
        ({"spendable": 1e300}, "4556"),
        ({"spendable": "-1e999999999"}, "4556"),
        ({"spendable": None, "spent": "much"}, None),
        ({"spendable": None, "score": None}, None),
        ({"spendable": float("nan")}, "4556"),
    ],
)
def test_points(change, points):
    """What can be spent, or what it comes to; never a guess."""
    assert kept_of({**ALMA, **change}, ("points",)) == {"points": points}


def test_what_a_till_may_be_shown():
    """The known places, else the workspace's own attributes; never an object, a list or half a character."""
    wanted = ("birth_date", "shoe_size", "vip", "sizes", "tiers", "first_name", "unheard_of")
    assert kept_of({**ALMA, "first_name": "Alma \ud83d"}, wanted) == {
        "birth_date": "1988-03-14", "shoe_size": "43", "vip": "true", "sizes": None, "tiers": None,
        "first_name": "Alma ?", "unheard_of": None,
    }  # fmt: skip
    odd = {"id": "c-1", "tiers": "Gold", "properties": None}
    assert kept_of(odd, ("member_level", "shoe_size")) == {"member_level": None, "shoe_size": None}


@pytest.mark.parametrize(
    ("told", "at"),
    [
        ("2026-01-05T09:00:00Z", datetime(2026, 1, 5, 9, tzinfo=UTC)),
        ("2026-01-05T10:00:00.000+0100", datetime(2026, 1, 5, 9, tzinfo=UTC)),
        ("2026-01-05T09:00:00", datetime(2026, 1, 5, 9, tzinfo=UTC)),
        (1767603600, datetime(2026, 1, 5, 9, tzinfo=UTC)),
        *((odd, None) for odd in ("lately", None, True, [], 1e300, float("nan"), "0001-01-01T00:00:00+02:00", 10**400)),
    ],
)
def test_instants(told, at):
    """Text with or without an offset, and seconds; anything else is none, and no error."""
    assert instant_of(told) == at


@pytest.mark.parametrize("action", [*sorted(POINTS_ALONE)])
def test_what_moves_points_alone(action):
    """Nobody is asked for because of it, unless the replica keeps what it moves."""
    events = [{"action": action, "Customer": {"id": "c-1"}}]
    assert customers_in(events, ("first_name",)).changed == []
    assert customers_in(events, ("first_name", "points")).changed == ["c-1"]


def test_whom_events_name():
    """Each once, in any form; who opted out is told apart, and who cannot be carried is counted."""
    events = [
        {"action": "profile", "Customer": {"id": "c-1"}}, {"action": "profile", "customer": "c-2"},
        {"action": "opt_out", "customer": {"_id": 3}}, {"action": "anything", "Customer": {"id": "c-1"}},
        {"action": "profile", "Customer": {"id": "a./b"}}, {"action": "profile", "Customer": {}}, {},
    ]  # fmt: skip
    named = customers_in(events, ())
    assert (named.changed, named.left, named.left_out) == (["c-1", "c-2", "3"], frozenset({"3"}), 1)
