"""The API's change feed, read against a scripted Engage."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from agent.connectors.voyado import changes
from agent.connectors.voyado.changes import TooManyChanges, VoyadoChanges
from agent.connectors.voyado.fields import ContactMapping
from agent.domain.contact import WITHHELD, ChangeKind, ContactChange
from agent.domain.identifiers import IdentifierType, Normaliser
from agent.errors import FeedError, VendorOwnError, VendorUnreachableError

NOW = datetime(2026, 2, 20, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Clock:
    def __init__(self, at=NOW):
        self.at = at

    def now(self):
        return self.at

    def today(self):
        return date(2026, 2, 20)


class Engage:
    """Contacts with the instants at which something happened to them; counts what it is asked."""

    def __init__(self, cap=250_000):
        self.events = []
        self.contacts = {}
        self.cap = cap
        self.asked = []
        self.fetched = []
        self.fails_at = None
        self.broken, self.retry_after_s = set(), None

    def happen(self, change_type, number, at, **attributes):
        contact_id = guid(number)
        self.events.append((change_type, at, contact_id))
        if change_type == "Deleted":
            self.contacts.pop(contact_id, None)
        else:
            self.contacts[contact_id] = contact(number, **attributes)

    async def changes(self, change_type, from_at, to_at):
        self.asked.append((change_type, from_at, to_at))
        found = [key.upper() for kind, at, key in self.events if kind == change_type and from_at < at < to_at]
        if len(found) > self.cap:
            raise TooManyChanges
        return found

    async def contact(self, contact_id):
        if len(self.fetched) == self.fails_at:
            self.fails_at = None
            raise VendorUnreachableError
        if contact_id in self.broken:
            raise VendorOwnError("answered 500", retry_after_s=self.retry_after_s)
        self.fetched.append(contact_id)
        return self.contacts.get(contact_id)


def guid(number):
    return f"00000000-0000-4000-8000-{number:012d}"


def contact(number, contact_type="Member", **attributes):
    return {
        "id": guid(number).upper(),
        "attributes": {"memberNumber": str(10_000_000 + number), "email": None, **attributes},
        "meta": {"contactType": contact_type, "createdOn": "2026-02-20T09:00:00"},
        "preferences": {"AcceptsEmails": True, "AcceptsPostals": False, "AcceptsSms": None},
        "consents": [],
    }


def feed(engage, *fields, clock=None, **options):
    return VoyadoChanges(engage, ContactMapping(Normaliser("SE"), fields=fields), clock or Clock(), **options)


async def poll(source, cursor=None):
    pages = [page async for page in source.pages(cursor)]
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    return [change for page in pages for change in page.changes], pages[-1].cursor


def ids(found):
    return [int(change.identifiers[IdentifierType.CONTACT_ID][-12:]) for change in found]


async def test_reads_a_contact():
    """A contact comes as a full row with the fields that an export would give; what is null is cleared."""
    engage = Engage()
    engage.happen(
        "Created",
        7,
        NOW - MINUTE,
        mobilePhone="070-174 06 05",
        firstName="Alma",
        bonusPoints=120,
        currentStore={"externalId": "1042"},
        memberLevel="Gold",
    )
    found, _ = await poll(
        feed(engage, "first_name", "accepts_email", "accepts_postal", "accepts_sms", "bonus_points", "current_store")
    )
    assert found == [
        ContactChange(
            ChangeKind.UPSERT,
            {
                IdentifierType.CONTACT_ID: guid(7),
                IdentifierType.MEMBER_NUMBER: "10000007",
                IdentifierType.MOBILE_PHONE: "+46701740605",
                IdentifierType.EMAIL: None,
            },
            {
                "first_name": "Alma",
                "accepts_email": "true",
                "accepts_postal": "false",
                "accepts_sms": None,
                "bonus_points": "120",
            },
            full_row=True,
        )
    ]


async def test_protected_identities_keep_no_address():
    """The rule of the export holds for the API too."""
    engage = Engage()
    engage.happen("Created", 1, NOW - MINUTE, street="Exempelgatan 7", secrecyMarked=True)
    found, _ = await poll(feed(engage, "street"))
    assert found[0].fields == {"street": WITHHELD}


@pytest.mark.parametrize(
    ("events", "kind", "fetches"),
    [
        pytest.param(["Created"], ChangeKind.UPSERT, 1, id="created"),
        pytest.param(["Created", "Updated"], ChangeKind.UPSERT, 1, id="created and updated"),
        pytest.param(["Deleted"], ChangeKind.DELETE, 0, id="deleted"),
        pytest.param(["Updated", "Deleted"], ChangeKind.DELETE, 1, id="updated, then deleted"),
        pytest.param(["Deleted", "Updated"], ChangeKind.UPSERT, 1, id="deleted, then restored"),
    ],
)
async def test_what_has_become_of_a_contact(events, kind, fetches):
    """Several changes of one contact make one: what it is now."""
    engage = Engage()
    for minutes, event in zip((5, 4), events, strict=False):
        engage.happen(event, 1, NOW - minutes * MINUTE)
    found, _ = await poll(feed(engage))
    assert [(change.kind, ids([change])) for change in found] == [(kind, [1])]
    assert len(engage.fetched) == fetches


async def test_gone_before_it_is_fetched():
    """A contact that is listed and cannot be found counts as deleted."""
    engage = Engage()
    engage.happen("Updated", 1, NOW - MINUTE)
    engage.contacts.clear()
    found, _ = await poll(feed(engage))
    assert [change.kind for change in found] == [ChangeKind.DELETE]


async def test_other_contact_types():
    """A new contact of another type is left out; a changed one may have been a member, and is one no more."""
    engage = Engage()
    engage.happen("Created", 1, NOW - MINUTE, contact_type="Contact")
    engage.happen("Updated", 2, NOW - MINUTE, contact_type="Contact")
    engage.happen("Updated", 3, NOW - MINUTE, contact_type="MEMBER")
    source = feed(engage)
    found, _ = await poll(source)
    assert [(change.kind, ids([change])) for change in found] == [(ChangeKind.DELETE, [2]), (ChangeKind.UPSERT, [3])]
    assert source.report.other_type == 1


async def test_polls_overlap():
    """The next poll asks from ten minutes before the last one's end, for each change type, in UTC."""
    engage, clock = Engage(), Clock()
    source = feed(engage, clock=clock)
    _, cursor = await poll(source)
    assert json.loads(cursor) == {"from_at": NOW.isoformat()}
    engage.asked.clear()
    engage.happen("Created", 1, NOW - 9 * MINUTE)
    clock.at = NOW + 15 * MINUTE
    found, cursor = await poll(source, cursor)
    assert ids(found) == [1]
    assert [asked[0] for asked in engage.asked] == ["Created", "Updated", "Deleted"]
    assert {(from_at, to_at) for _, from_at, to_at in engage.asked} == {
        (NOW - 10 * MINUTE, clock.at + timedelta(milliseconds=1))
    }
    assert (await poll(source, cursor))[0] == []


async def test_halves_what_is_too_much_and_misses_nothing():
    """A window over the cap is halved until it fits; every change is read, those on a boundary too."""
    engage = Engage(cap=3)
    start = NOW - timedelta(days=1)
    for number in range(40):
        engage.happen("Created" if number % 2 else "Updated", number, start + number * timedelta(minutes=36))
    found, _ = await poll(feed(engage, since_at=start))
    assert sorted(set(ids(found))) == list(range(40))
    refused = sum(1 for asked in engage.asked if asked[0] == "Created")
    assert refused < 60


async def test_more_than_an_answer_in_a_second():
    """A window that cannot be halved any more is the vendor's failure, not an endless loop."""
    engage = Engage(cap=0)
    engage.happen("Created", 1, NOW - MINUTE)
    with pytest.raises(VendorUnreachableError):
        await poll(feed(engage))


@pytest.mark.parametrize("fails_at", [0, 1, 5, 9, 10, 23, 24])
async def test_goes_on_where_it_was_interrupted(monkeypatch, fails_at):
    """After a failure only the page under way is fetched again; the clock's time does not move the poll's end."""
    monkeypatch.setattr(changes, "PAGE_CONTACTS", 5)
    engage, clock = Engage(cap=10), Clock()
    start = NOW - timedelta(hours=1)
    for number in range(25):
        engage.happen("Created", (number * 7) % 25, start + number * 2 * MINUTE)
    engage.fails_at = fails_at
    source, cursor, applied = feed(engage, clock=clock, since_at=start), None, []
    with pytest.raises(VendorUnreachableError):  # noqa: PT012 - what was yielded before stays valid
        async for page in source.pages(cursor):
            applied += page.changes
            cursor = page.cursor
    clock.at = NOW + timedelta(hours=3)
    ends_at = clock.at if cursor is None else NOW
    rest, cursor = await poll(source, cursor)
    assert sorted(ids(applied + rest)) == list(range(25))
    assert len(engage.fetched) - 25 < 5
    assert json.loads(cursor) == {"from_at": ends_at.isoformat()}


async def test_pages_carry_their_cursor(monkeypatch):
    """Each page's cursor stands for itself: reading from any of them gives exactly what follows."""
    monkeypatch.setattr(changes, "PAGE_CONTACTS", 4)
    engage = Engage(cap=9)
    start = NOW - timedelta(hours=1)
    for number in range(30):
        engage.happen("Created", (number * 11) % 30, start + number * 2 * MINUTE)
    pages = [page async for page in feed(engage, since_at=start).pages(None)]
    assert max(len(page.changes) for page in pages) == 4
    for index, page in enumerate(pages[:-1]):
        again = [later async for later in feed(engage).pages(page.cursor)]
        assert again == pages[index + 1 :]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"from_at": 1}',
        '{"from_at": "yesterday"}',
        '{"from_at": "2026-02-20T10:00:00"}',
        '{"from_at": "2026-02-20T10:00:00+00:00", "to_at": "2026-02-20T10:00:00+00:00"}',
        '{"from_at": "2026-02-20T10:00:00+00:00", "after": 1}',
        '{"from_at": "0001-01-01T00:00:00+00:00"}',
        '{"from_at": "9999-12-31T23:59:59+00:00"}',
        (
            '{"from_at": "2026-02-20T10:00:00+00:00", "to_at": "2026-02-20T09:00:00+00:00", '
            '"until_at": "2026-02-20T11:00:00+00:00"}'
        ),
        (
            '{"from_at": "2026-02-20T10:00:00+00:00", "to_at": "2026-02-20T11:00:00+00:00", '
            '"until_at": "2026-02-20T10:30:00+00:00"}'
        ),
        (
            '{"from_at": "2026-02-20T09:00:00+00:00", "to_at": "2026-02-20T09:00:00+00:00", '
            '"until_at": "2026-02-20T10:00:00+00:00"}'
        ),
        '{"a": ' + "[" * 100_000,
        '{"from_at": "2026-02-20T10:00:00+00:00", "unread": "all"}',
        '{"from_at": "2026-02-20T10:00:00+00:00", "unread": [1]}',
    ],
)
async def test_refuses_another_cursor(cursor):
    """A cursor that is none of this feed's is refused; nothing is asked."""
    engage = Engage()
    with pytest.raises(FeedError):
        await poll(feed(engage), cursor)
    assert engage.asked == []


async def test_a_contact_that_draws_errors_holds_up_nobody():
    """It is left out and counted, asked for again by each poll, and read once it can be."""
    engage, clock = Engage(), Clock()
    for number in range(1, 6):
        engage.happen("Updated", number, NOW - timedelta(hours=1))
    engage.broken = {guid(3)}
    pages = [page async for page in feed(engage, clock=clock).pages(None)]
    assert ids([change for page in pages for change in page.changes]) == [1, 2, 4, 5]
    assert pages[-1].unread == 1

    clock.at = NOW + timedelta(days=1)
    engage.happen("Created", 9, NOW + timedelta(hours=1))
    pages = [page async for page in feed(engage, clock=clock).pages(pages[-1].cursor)]
    assert (ids(pages[-1].changes), pages[-1].unread) == ([9], 1)

    clock.at = NOW + timedelta(days=2)
    engage.broken = set()
    pages = [page async for page in feed(engage, clock=clock).pages(pages[-1].cursor)]
    assert (ids(pages[-1].changes), pages[-1].unread) == ([3], 0)
    assert json.loads(pages[-1].cursor) == {"from_at": clock.at.isoformat()}


async def test_a_contact_that_draws_errors_and_is_gone_is_removed():
    """It is not asked for any more."""
    engage, clock = Engage(), Clock()
    engage.happen("Updated", 3, NOW - timedelta(hours=1))
    engage.broken = {guid(3)}
    _, cursor = await poll(feed(engage), None)
    engage.happen("Deleted", 3, NOW + timedelta(hours=1))
    clock.at = NOW + timedelta(days=1)
    (change,), cursor = await poll(feed(engage, clock=clock), cursor)
    assert change.kind is ChangeKind.DELETE
    assert "unread" not in json.loads(cursor)


@pytest.mark.parametrize("retry_after_s", [None, 30.0], ids=["three in a row", "a pause is asked for"])
async def test_a_vendor_that_draws_errors_is_asked_no_more(retry_after_s):
    """Then it is not the contacts; nothing is skipped, and the next poll goes on from the same place."""
    engage = Engage()
    for number in range(1, 6):
        engage.happen("Updated", number, NOW - timedelta(hours=1))
    engage.broken, engage.retry_after_s = {guid(number) for number in range(2, 6)}, retry_after_s
    with pytest.raises(VendorOwnError):
        await poll(feed(engage))
    assert engage.fetched == [guid(1)]


async def test_a_page_is_cut_where_it_was_also_with_contacts_to_ask_again(monkeypatch):
    """Whoever is asked for again does not move the place from which an interrupted poll goes on."""
    monkeypatch.setattr(changes, "PAGE_CONTACTS", 2)
    engage, clock = Engage(), Clock()
    engage.happen("Updated", 8, NOW - timedelta(hours=1))
    engage.broken = {guid(8)}
    _, cursor = await poll(feed(engage), None)
    for number in (1, 2, 3, 4, 9):
        engage.happen("Updated", number, NOW + timedelta(hours=1))
    clock.at = NOW + timedelta(days=1)
    seen = []
    async for page in feed(engage, clock=clock).pages(cursor):
        rest = [change async for later in feed(engage, clock=clock).pages(page.cursor) for change in later.changes]
        seen += ids(page.changes)
        if not page.last:
            assert sorted({*seen, *ids(rest)}) == [1, 2, 3, 4, 9]
    assert seen == [1, 2, 3, 4, 9]


async def test_asks_nothing_while_the_clock_is_behind():
    """With a clock that stands before the last poll nothing is asked; a small step back does no harm."""
    engage = Engage()
    cursor = json.dumps({"from_at": NOW.isoformat()})
    with pytest.raises(FeedError, match="clock"):
        await poll(feed(engage, clock=Clock(NOW - timedelta(days=1_000))), cursor)
    assert engage.asked == []
    await poll(feed(engage, clock=Clock(NOW - MINUTE)), cursor)
    assert len(engage.asked) == 3


@pytest.mark.parametrize("part", ["attributes", "meta", "preferences"])
async def test_nonsense_instead_of_a_contact(part):
    """An answer that has not the shape of a contact is no contact: the poll ends there, and comes again."""
    engage = Engage()
    engage.happen("Created", 1, NOW - MINUTE)
    engage.contacts[guid(1)][part] = "nonsense"
    with pytest.raises(VendorUnreachableError):
        await poll(feed(engage))


async def test_nonsense_instead_of_an_id():
    """A listed id that is none is refused before it becomes part of a URL, and not repeated."""
    engage = Engage()
    engage.events.append(("Created", NOW - MINUTE, "../receipts"))
    with pytest.raises(VendorUnreachableError) as caught:
        await poll(feed(engage))
    assert "receipts" not in str(caught.value)
    assert engage.fetched == []
