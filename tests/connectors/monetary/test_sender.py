"""Sales on their way to an account: asked about, sent once, looked for, and into trouble."""

import asyncio
import contextlib
import json
from datetime import timedelta

import pytest

from agent.connectors.monetary import activities_of, shares
from agent.connectors.monetary.simulator import Fault
from agent.connectors.registry import ROOMS
from agent.domain.activity import ContactEvent
from agent.domain.benefits import BenefitKind
from agent.domain.delivery import VerdictKind
from agent.domain.identifiers import IdentifierType
from agent.domain.redemption import Redeemable, RedemptionState, Standing
from agent.domain.transaction import IntegrationKey, NewContact
from agent.errors import VendorRefusedError, VendorUnreachableError
from tests.connectors.monetary.conftest import KEY, MEMBER
from tests.connectors.mparticle.sales import NOW, make_activity, make_outgoing, make_sale
from tests.fakes import at_once
from tests.wire import answer, cut, in_turn, wire

DONE, DUPLICATE, PARK, RETRY, HOLD, IN_DOUBT = (
    VerdictKind.DONE, VerdictKind.DUPLICATE, VerdictKind.PARK, VerdictKind.RETRY, VerdictKind.HOLD,
    VerdictKind.IN_DOUBT,
)  # fmt: skip
SOCKS = {"kind": "purchase", "sku": "SK-77", "quantity": "2", "gross_paid": "250.00"}
BACK = {"kind": "return", "sku": "SK-77", "quantity": "-1", "gross_paid": "125.00"}
FOUND = answer(200, json.dumps([{"CustomerID": 101, "ExternalID": MEMBER}]).encode())
RECEIPT = "0f6c2c526b0e4a0c9c1e0f6c2c526b0e"


def secondary(kind, value):
    return IntegrationKey(kind="secondary", type=kind, value=value)


PHONE = secondary(IdentifierType.MOBILE_PHONE, "+46701740605")
MAIL = secondary(IdentifierType.EMAIL, "alma@example.com")
BO_MAIL = secondary(IdentifierType.EMAIL, "bo@example.com")


def sale(name="t-1", *, tag=None, guest=False, maybe_received=False, **changes):
    """A sale of this minute, so that nothing has to be said of its time."""
    sold = make_sale(transaction_id=name, **{"occurred_at": NOW.isoformat(), "lines": [SOCKS], **changes})
    return make_outgoing(sold, key=tag, guest=guest, maybe_received=maybe_received)


async def sent(room, *batch):
    return [(await room.sender.send([one]))[0] for one in batch]


def told(verdicts):
    return [(verdict.kind, verdict.code) for verdict in verdicts]


async def test_one_sale(simulator, connect):
    """Its member is asked for, and a receipt made that has the vendor's name."""
    sim, running = simulator
    [verdict] = await sent(connect(running.url), sale())
    [receipt] = sim.receipts
    assert (verdict.kind, verdict.code, verdict.status, verdict.reference) == (DONE, "", 200, receipt["ReceiptID"])
    assert (receipt["CustomerID"], receipt["Total"]) == (101, 250)
    assert dict(sim.requests) == {"GET customers": 1, "POST receipts": 1}


@pytest.mark.parametrize("tag", [None, PHONE, MAIL], ids=["number", "phone", "address"])
async def test_whose_it_is(simulator, connect, tag):
    """The number is the ExternalID; a phone goes as ten national digits."""
    sim, running = simulator
    sim.add_customer(ExternalID=f"{MEMBER}0", Phone="0701740606", Email="bo@example.com")
    [verdict] = await sent(connect(running.url), sale(tag=tag))
    assert verdict.kind is DONE
    assert sim.receipts[0]["CustomerID"] == 101


@pytest.mark.parametrize(
    ("fields", "tag", "code"),
    [
        ([], BO_MAIL, "contact.unknown"),
        ([{"Phone": "0701740605"}], PHONE, "contact.unresolved"),
        ([{"Email": "bo@example.com.example.com"}], BO_MAIL, "contact.unresolved"),
        ([], secondary(IdentifierType.CARD_NUMBER, "12345678"), "contact.unresolved"),
        ([], secondary(IdentifierType.PERSONAL_NUMBER, "198803142380"), "contact.unresolved"),
        ([], secondary(IdentifierType.MOBILE_PHONE, "+4670174060"), "contact.unresolved"),
        ([], IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value="c-1"), "contact.unresolved"),
    ],
    ids=["nobody", "two", "one who begins so", "a card", "a personal number", "nine digits", "the owner's own id"],
)  # fmt: skip
async def test_nobody_is_guessed(simulator, connect, fields, tag, code):
    """Who cannot be told from others is left to a person, and no receipt is sent."""
    sim, running = simulator
    for one in fields:
        sim.add_customer(**one)
    [verdict] = await sent(connect(running.url), sale(tag=tag))
    assert (verdict.kind, verdict.code, verdict.not_received) == (PARK, code, True)
    assert sim.receipts == []


CONTACT = {
    "first_name": "Bo", "last_name": "Ek", "email": "bo@example.com", "mobile_phone": "+46701740606",
    "street": "Gatan 1", "city": "Lund", "zip_code": "222 22", "birth_date": "1988-03-14",
}  # fmt: skip
BO = secondary(IdentifierType.MOBILE_PHONE, "+46701740606")


@pytest.mark.parametrize(
    ("preferences", "accepts"),
    [
        (None, (False, False)),
        ({"accepts_sms": True}, (True, False)),
        ({"accepts_sms": False, "accepts_email": True}, (False, True)),
    ],
    ids=["not asked", "sms", "mail"],
)
async def test_a_stranger_is_registered(simulator, connect, preferences, accepts):
    """With what they gave, once, and with no consent that they did not give."""
    sim, running = simulator
    room = connect(running.url, unknown_customer="register")
    contact = {**CONTACT, "preferences": preferences}
    verdicts = await sent(room, sale("a", tag=BO, new_contact=contact), sale("b", tag=BO))
    assert [verdict.kind for verdict in verdicts] == [DONE, DONE]
    assert [receipt["CustomerID"] for receipt in sim.receipts] == [102, 102]
    assert sim.customers[102] == {
        "CustomerID": 102, "Phone": "0701740606", "Email": "bo@example.com", "FirstName": "Bo", "LastName": "Ek",
        "Address": "Gatan 1", "City": "Lund", "Zipcode": "222 22", "Birthday": "1988-03-14",
        "AcceptsSMS": accepts[0], "AcceptsEmail": accepts[1], "Points": 500,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "kind"),
    [("88", PARK), (88, PARK), ("77 ", DONE), ("", DONE), (None, DONE)],
    ids=["another's number", "another's as a number", "the same", "empty", "none"],
)
async def test_a_stranger_who_shares_a_phone_with_a_member(simulator, connect, theirs, kind):
    """A sale under a member's number is never booked to somebody who has another: a person settles who they are."""
    sim, running = simulator
    sim.add_customer(ExternalID="88", Phone="0701740606")
    sim.customers[102]["ExternalID"] = theirs
    tag = IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value="77")
    [verdict] = await sent(
        connect(running.url, unknown_customer="register"), sale(tag=tag, new_contact={"mobile_phone": "+46701740606"})
    )
    assert (verdict.kind, [receipt["CustomerID"] for receipt in sim.receipts]) == (kind, [102] if kind is DONE else [])


async def test_a_stranger_by_number_alone(simulator, connect):
    """A number is all that is told of whoever gave nothing."""
    sim, running = simulator
    tag = IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value="77")
    [verdict] = await sent(connect(running.url, unknown_customer="register"), sale(tag=tag))
    assert verdict.kind is DONE
    assert sim.customers[102] == {
        "CustomerID": 102, "ExternalID": "77", "AcceptsSMS": False, "AcceptsEmail": False, "Points": 250,
    }  # fmt: skip


async def test_a_number_that_was_only_said_makes_nobody(simulator, connect):
    """It may be mistyped."""
    sim, running = simulator
    tag = secondary(IdentifierType.MEMBER_NUMBER, "77")
    [verdict] = await sent(connect(running.url, unknown_customer="register"), sale(tag=tag))
    assert (verdict.kind, verdict.code, len(sim.customers)) == (PARK, "contact.unknown", 1)


@pytest.mark.parametrize(
    ("there", "outcome"),
    [
        ([{"Email": "bo@example.com"}], [(DONE, "")]),
        ([{"Email": "bo@example.com"}, {"Email": "BO@example.com"}], [(PARK, "contact.unresolved")]),
    ],
    ids=["one", "two"],
)
async def test_whoever_is_there_is_not_registered_again(simulator, connect, there, outcome):
    """Everything that a stranger would be registered with is searched for first."""
    sim, running = simulator
    for one in there:
        sim.add_customer(**one)
    verdicts = await sent(connect(running.url, unknown_customer="register"), sale(tag=BO, new_contact=CONTACT))
    assert told(verdicts) == outcome
    assert len(sim.customers) == 1 + len(there)


async def test_the_key_of_the_sale_decides(simulator, connect):
    """Whoever it names is the customer, whatever else they gave is somebody else's."""
    sim, running = simulator
    bo = sim.add_customer(Phone="0701740606")
    sim.add_customer(Email="bo@example.com")
    [verdict] = await sent(connect(running.url, unknown_customer="register"), sale(tag=BO, new_contact=CONTACT))
    assert (verdict.kind, sim.receipts[0]["CustomerID"]) == (DONE, bo)


async def test_two_sales_of_a_stranger_at_once(simulator, connect):
    """One registers them, the other waits and finds them."""
    sim, running = simulator
    room = connect(running.url, unknown_customer="register")
    await asyncio.gather(*(room.sender.send([sale(name, tag=BO)]) for name in ("a", "b")))
    assert (len(sim.customers), [receipt["CustomerID"] for receipt in sim.receipts]) == (2, [102, 102])


async def test_a_registration_whose_answer_is_lost(simulator, connect):
    """The next attempt finds the customer; the receipt was never sent."""
    sim, running = simulator
    room = connect(running.url, unknown_customer="register")
    sim.add(Fault(kind="drop", path="/v1/Customers", method="POST", count=1, after_processing=True))
    first, second = await sent(room, sale(tag=BO), sale(tag=BO))
    assert (first.kind, first.not_received, second.kind) == (RETRY, True, DONE)
    assert (len(sim.customers), len(sim.receipts)) == (2, 1)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"type": "void", "original_transaction_id": "t-0", "lines": [], "payments": [], "total": "0"},
         "sale.return_unsupported"),
        ({"type": "return", "lines": [BACK], "total": "-125.00",
          "payments": [{"type": "card", "amount": "-125.00"}]}, "sale.return_unsupported"),
        ({"lines": [SOCKS, BACK], "total": "125.00", "payments": [{"type": "card", "amount": "125.00"}]},
         "sale.return_unsupported"),
        ({"guest": True}, "sale.without_member"),
        ({"currency": "KWD", "lines": [{**SOCKS, "gross_paid": "1.005"}]}, "sale.inexact"),
        ({"tax": "added"}, "sale.without_tax"),
    ],
    ids=["void", "return", "exchange", "guest", "three decimals", "no tax"],
)  # fmt: skip
async def test_what_the_vendor_has_no_form_for(simulator, connect, changes, code):
    """It is left to a person with the reason, and nothing is asked or sent."""
    sim, running = simulator
    tables = {name: changes[name] for name in changes.keys() & {"tax"}}
    said = {name: value for name, value in changes.items() if name not in tables}
    [verdict] = await sent(connect(running.url, **tables), sale(**said))
    assert (verdict.kind, verdict.code) == (PARK, code)
    assert not sim.requests


async def test_a_late_sale(simulator, connect):
    """The vendor counts it when it arrives, which its story says."""
    _, running = simulator
    early = (NOW - timedelta(hours=7)).isoformat()
    verdicts = await sent(connect(running.url), sale(occurred_at=early))
    assert told(verdicts) == [(DONE, "sale.time_lost")]


# --- what may have arrived ------------------------------------------------------------------------------------


async def test_a_lost_answer_is_found_on_the_books(simulator, connect, recorded):
    """It is looked for before it goes out again, among earlier receipts of the same goods."""
    sim, running = simulator
    room = connect(running.url)
    first = await sent(room, sale("a"), sale("b"))
    recorded.update(verdict.reference for verdict in first)
    sim.add(Fault(kind="drop", path="/v1/Receipts", count=1, after_processing=True))
    lost, found = await sent(room, sale("c"), sale("c", maybe_received=True))
    assert (lost.kind, lost.not_received, lost.reached) == (RETRY, False, False)
    assert (found.kind, found.reference) == (DUPLICATE, sim.receipts[2]["ReceiptID"])
    assert len(sim.receipts) == 3


async def test_after_a_restart_only_the_outbox_tells(simulator, connect, recorded):
    """Receipts of other sales are known by what is recorded; without that they could not be told apart."""
    sim, running = simulator
    first = await sent(connect(running.url), sale("a"), sale("b"))
    doubtful = sale("c", maybe_received=True)
    [unclear] = await sent(connect(running.url), doubtful)
    recorded.update(verdict.reference for verdict in first)
    [sent_again] = await sent(connect(running.url), doubtful)
    assert (unclear.kind, unclear.code) == (IN_DOUBT, "sale.maybe_received")
    assert sent_again.kind is DONE
    assert len(sim.receipts) == 3


async def test_a_receipt_is_one_sales_alone(simulator, connect):
    """Two sales of the same goods may both have arrived: the one receipt is not taken for both."""
    sim, running = simulator
    room = connect(running.url)
    sim.add(Fault(kind="drop", path="/v1/Receipts", count=1, after_processing=True))
    await sent(room, sale("a"))
    verdicts = await sent(room, sale("a", maybe_received=True), sale("b", maybe_received=True))
    assert [verdict.kind for verdict in verdicts] == [DUPLICATE, DONE]
    assert len(sim.receipts) == 2


@pytest.mark.parametrize("kind", [DUPLICATE, IN_DOUBT], ids=["recorded here", "another till's"])
async def test_one_alike_beside_another(simulator, connect, recorded, kind):
    """It is this sale's only while nothing else on the books is unknown here: it could be another till's, too."""
    sim, running = simulator
    await sent(connect(running.url), sale("other", lines=[{**SOCKS, "gross_paid": "99.00"}]), sale("a"))
    if kind is DUPLICATE:
        recorded.add(sim.receipts[0]["ReceiptID"])
    [verdict] = await sent(connect(running.url), sale("a", maybe_received=True))
    assert verdict.kind is kind


async def test_what_never_arrived_goes_out(simulator, connect):
    """A receipt of other goods, or of another customer, is not taken for it."""
    sim, running = simulator
    room = connect(running.url)
    sim.add_customer(ExternalID="77", Phone="0701740606")
    await sent(
        room, sale("a", lines=[{**SOCKS, "gross_paid": "250.01"}]),
        sale("b", tag=BO),
    )  # fmt: skip
    [verdict] = await sent(room, sale("c", maybe_received=True))
    assert verdict.kind is DONE
    assert [receipt["CustomerID"] for receipt in sim.receipts] == [101, 102, 101]


@pytest.mark.parametrize(
    ("first", "then", "outcome"),
    [
        (True, False, [(DUPLICATE, ""), (DONE, "")]),
        (False, True, [(IN_DOUBT, "sale.maybe_received"), (IN_DOUBT, "sale.maybe_received")]),
    ],
    ids=["switched off", "switched on"],
)
async def test_marks_that_are_switched_while_a_sale_is_in_doubt(simulator, connect, first, then, outcome):
    """What names a sale is that sale's alone; what names none is not passed over."""
    sim, running = simulator
    sim.add(Fault(kind="drop", path="/v1/Receipts", count=1, after_processing=True))
    await sent(connect(running.url, mark_receipts=first), sale("a"))
    room = connect(running.url, mark_receipts=then)
    assert told(await sent(room, sale("a", maybe_received=True), sale("b", maybe_received=True))) == outcome


async def test_its_own_receipt_is_found_however_often(simulator, connect):
    """A verdict that was not written down is come to again."""
    sim, running = simulator
    room = connect(running.url)
    first = await sent(room, sale("a"), sale("a", maybe_received=True), sale("a", maybe_received=True))
    assert [verdict.kind for verdict in first] == [DONE, DUPLICATE, DUPLICATE]
    assert {verdict.reference for verdict in first} == {sim.receipts[0]["ReceiptID"]}


async def test_the_latest_receipts_are_remembered(simulator, connect, monkeypatch):
    """No more than that: by then the outbox has them."""
    monkeypatch.setattr("agent.connectors.monetary.books._RECENT", 2)
    _, running = simulator
    room = connect(running.url)
    await sent(room, sale("a"), sale("b"), sale("c"))
    [verdict] = await sent(room, sale("d", maybe_received=True))
    assert (verdict.kind, len(room.sender._books._given)) == (DUPLICATE, 2)


async def test_marks(simulator, connect):
    """With the sale's id on each receipt nothing else is needed, whatever else was bought alike."""
    sim, running = simulator
    room = connect(running.url, mark_receipts=True)
    await sent(room, sale("a"), sale("b"))
    verdicts = await sent(connect(running.url, mark_receipts=True), sale("b", maybe_received=True),
                          sale("c", maybe_received=True))  # fmt: skip
    assert [verdict.kind for verdict in verdicts] == [DUPLICATE, DONE]
    assert verdicts[0].reference == sim.receipts[1]["ReceiptID"]
    assert sim.held() == {"a": 1, "b": 1, "c": 1}


def listed(*receipts):
    return answer(200, json.dumps(receipts).encode())


ALIKE = {
    "CustomerID": 101, "Skus": [{"SKU": "SK-77", "Amount": 125, "Quantity": 2}], "Discounts": [], "SubTotal": 250,
    "Taxes": 0, "Total": 250,
}  # fmt: skip


def numbered(count, **changes):
    return [{**ALIKE, **changes, "ReceiptID": f"{number:032x}"} for number in range(count)]


TAKEN = answer(200, json.dumps({"ReceiptID": RECEIPT}).encode())


@pytest.mark.parametrize(
    "books",
    [
        pytest.param(answer(404, b"{}"), id="404"),
        pytest.param(answer(400, b"{}"), id="400"),
        pytest.param(answer(204), id="nothing"),
        pytest.param(answer(200, b"null"), id="null"),
        pytest.param(answer(200, b"{}"), id="an object"),
        pytest.param(answer(200, b'[{"ReceiptID": 7}]'), id="no names"),
        pytest.param(answer(200, b'["a"]'), id="no receipts"),
        pytest.param(answer(200, b"[" * 5000), id="nested"),
        pytest.param(answer(200, b"not JSON"), id="no JSON"),
        pytest.param(listed({**ALIKE, "ReceiptID": RECEIPT, "Total": "\ud800"}), id="half a character"),
        pytest.param(listed(*numbered(2)), id="two alike"),
        pytest.param(listed(*numbered(10, Total=7), *numbered(11)[10:]), id="one alike among ten of other tills"),
        pytest.param(listed({"ReceiptID": RECEIPT}), id="a form that is not understood"),
        pytest.param(listed(*numbered(10, Total=7)), id="ten, which may be a page"),
        pytest.param(answer(200, b'[{"ReceiptID": "' + RECEIPT.encode() + b'", "Skus": [], "Total": NaN}]'), id="NaN"),
    ],
)
@pytest.mark.parametrize(
    ("on_doubt", "outcome"),
    [
        ("hold", (IN_DOUBT, "sale.maybe_received", 2)),
        ("drop", (DONE, "sale.not_repeated", 2)),
        ("resend", (DONE, "", 3)),
    ],
    ids=["hold", "drop", "resend"],
)
async def test_books_that_do_not_tell(connect, books, on_doubt, outcome):
    """The configuration decides; by itself the agent sends nothing a second time."""
    async with wire(in_turn(FOUND, books, TAKEN)) as vendor:
        [verdict] = await sent(connect(vendor.url, on_doubt=on_doubt), sale(maybe_received=True))
        assert (verdict.kind, verdict.code, len(vendor.requests)) == outcome


@pytest.mark.parametrize(
    ("books", "kind"),
    [
        pytest.param(listed(), DONE, id="none"),
        pytest.param(listed(*numbered(9, Total=7)), DONE, id="nine others"),
        pytest.param(listed(*numbered(1)), DUPLICATE, id="one alike"),
        pytest.param(listed(*numbered(1), *numbered(1)), DUPLICATE, id="the same one twice"),
        pytest.param(cut, RETRY, id="cut"),
        pytest.param(answer(500, b"{}"), RETRY, id="500"),
        pytest.param(answer(429, b"{}"), RETRY, id="429"),
        pytest.param(answer(200, b"<html>", content_type="text/html"), RETRY, id="page"),
        pytest.param(answer(401, b"{}"), HOLD, id="401"),
    ],
)
async def test_books_that_tell_or_cannot_be_asked(connect, books, kind):
    """None is sent, one is taken for it; while nobody answers, nothing is decided or sent."""
    script = in_turn(FOUND, books, books if books is cut else TAKEN)  # a question on a cut line is asked again
    async with wire(script) as vendor:
        [verdict] = await sent(connect(vendor.url), sale(maybe_received=True))
        posts = [request for request in vendor.requests if request.startswith(b"POST")]
    assert verdict.kind is kind
    assert len(posts) == (kind is DONE)
    assert verdict.not_received is (kind in (RETRY, HOLD))


@pytest.mark.parametrize(
    ("on_doubt", "lost", "later"),
    [
        ("hold", (IN_DOUBT, "sale.maybe_received"), (IN_DOUBT, "sale.maybe_received")),
        ("drop", (DONE, "sale.not_repeated"), (DONE, "sale.not_repeated")),
    ],
    ids=["hold", "drop"],
)
async def test_a_guests_sale_is_on_nobodys_books(simulator, connect, on_doubt, lost, later):
    """Without an answer it is in doubt at once: there is nobody whose receipts could be read."""
    sim, running = simulator
    room = connect(running.url, guest_sales=True, on_doubt=on_doubt)
    [taken] = await sent(room, sale("a", guest=True))
    sim.add(Fault(kind="drop", path="/v1/Receipts", count=1, after_processing=True))
    verdicts = await sent(room, sale("b", guest=True), sale("b", guest=True, maybe_received=True))
    assert taken.kind is DONE
    assert told(verdicts) == [lost, later]
    assert verdicts[0].reached is False
    assert [receipt["CustomerID"] for receipt in sim.receipts] == [None, None]


async def test_a_guests_sale_that_was_turned_back_is_not_in_doubt(connect):
    """A refused connection or a 429 proves that nothing arrived."""
    async with wire(answer(429, b"{}")) as vendor:
        [verdict] = await sent(connect(vendor.url, guest_sales=True), sale(guest=True))
    assert (verdict.kind, verdict.not_received) == (RETRY, True)


async def test_a_claim_where_guests_are_sent(simulator, connect):
    """The guest's receipt cannot be taken back; where none was sent, a claim is a receipt of its own."""
    _, running = simulator
    claim = sale(type="points_claim", original_transaction_id="t-0")
    with_guests, without = [await sent(connect(running.url, guest_sales=on), claim) for on in (True, False)]
    assert told(with_guests) == [(PARK, "sale.return_unsupported")]
    assert told(without) == [(DONE, "")]


# --- answers that are none ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "kind", "code"),
    [
        pytest.param(answer(200, b"{}"), RETRY, "vendor.unreadable", id="an object"),
        pytest.param(answer(200, b"[7]"), RETRY, "vendor.unreadable", id="numbers"),
        pytest.param(answer(204), RETRY, "vendor.unreadable", id="nothing"),
        pytest.param(answer(200, b"[]]"), RETRY, "vendor.unreadable", id="no JSON"),
        pytest.param(answer(200, b"<html>"), RETRY, "vendor.unreadable", id="page"),
        pytest.param(answer(302, b"", location="http://127.0.0.1:9/"), RETRY, "vendor.unreadable", id="redirect"),
        pytest.param(answer(404, b""), RETRY, "vendor.unreadable", id="no such call"),
        pytest.param(answer(404, b'{"Message": "No HTTP resource"}'), RETRY, "vendor.unreadable", id="elsewhere"),
        pytest.param(answer(500, b"{}"), RETRY, "vendor.error", id="500"),
        pytest.param(answer(429, b"{}"), RETRY, "vendor.busy", id="429"),
        pytest.param(cut, RETRY, "vendor.offline", id="cut"),
        pytest.param(answer(401, b"{}"), HOLD, "vendor.credentials_refused", id="401"),
        pytest.param(answer(400, b"{}"), PARK, "vendor.rejected", id="400"),
        *(
            pytest.param(answer(200, b'[{"ExternalID": "%s", "CustomerID": %s}]' % (MEMBER.encode(), name)), RETRY,
                         "vendor.unreadable", id=f"id {name.decode()}")
            for name in (b"null", b"0", b"-7", b"true", b"1.5", b'"x"', b'"7e3"', b"[7]", b"9223372036854775808",
                         b"1e400")
        ),
    ],
)  # fmt: skip
async def test_an_answer_to_the_question_that_is_none(connect, question, kind, code):
    """No receipt goes out for somebody who was not named."""
    async with wire(question) as vendor:
        [verdict] = await sent(connect(vendor.url), sale())
        assert not [request for request in vendor.requests if request.startswith(b"POST")]
    assert (verdict.kind, verdict.code, verdict.not_received) == (kind, code, True)


@pytest.mark.parametrize(
    "row",
    [{"CustomerID": "101", "ExternalID": MEMBER}, {"customerId": 101, "externalId": int(MEMBER)},
     {"CUSTOMERID": 101, "EXTERNALID": f" {MEMBER} ", "Phone": None}],
    ids=["an id as text", "a number as such", "in another case"],
)  # fmt: skip
async def test_a_customer_however_they_are_spelled(connect, row):
    """Numbers as text and names in any case are understood."""
    async with wire(in_turn(answer(200, json.dumps([row]).encode()), TAKEN)) as vendor:
        [verdict] = await sent(connect(vendor.url), sale())
        assert b'{"CustomerID":101,' in vendor.requests[1]
    assert verdict.kind is DONE


@pytest.mark.parametrize(
    "taken",
    [b"", b"null", b"[]", b"{}", b'{"ReceiptID": null}', b'{"ReceiptID": 7}', b'{"ReceiptID": "a b c d e f"}',
     b'{"ReceiptID": "%s"}' % (b"a" * 65), b'{"ReceiptID": "46701740605"}', b'{"ReceiptID": ["a"]}', b"\xff"],
)  # fmt: skip
async def test_a_good_status_that_shows_no_receipt(connect, taken):
    """It proves nothing: the books are read before anything is sent again."""
    async with wire(in_turn(FOUND, answer(200, taken))) as vendor:
        [verdict] = await sent(connect(vendor.url), sale())
    assert (verdict.kind, verdict.code, verdict.not_received) == (RETRY, "vendor.unreadable", False)


@pytest.mark.parametrize(
    ("on_doubt", "outcome"),
    [("hold", (IN_DOUBT, "sale.maybe_received")), ("drop", (DONE, "sale.not_repeated")),
     ("resend", (RETRY, "vendor.unreadable"))],
)  # fmt: skip
async def test_a_second_good_status_that_shows_no_receipt(connect, on_doubt, outcome):
    """The books were without it, and again nothing tells whether it was taken: that is not repeated for ever."""
    async with wire(in_turn(FOUND, listed(), answer(200, b'{"ReceiptID": 7}'))) as vendor:
        [verdict] = await sent(connect(vendor.url, on_doubt=on_doubt), sale(maybe_received=True))
    assert (verdict.kind, verdict.code) == outcome


async def test_a_registration_that_shows_no_customer(connect):
    """The sale waits; who was made is found by the next attempt."""
    async with wire(in_turn(answer(200, b"[]"), answer(201, b'{"Phone": "0701740605"}'))) as vendor:
        [verdict] = await sent(connect(vendor.url, unknown_customer="register"), sale(tag=PHONE))
    assert (verdict.kind, verdict.not_received) == (RETRY, True)


async def test_a_registration_that_is_refused(connect):
    """A person looks at what the customer gave."""
    async with wire(in_turn(answer(200, b"[]"), answer(400, b"{}"))) as vendor:
        [verdict] = await sent(connect(vendor.url, unknown_customer="register"), sale(tag=PHONE))
    assert (verdict.kind, verdict.code, verdict.status) == (PARK, "contact.refused", 400)


@pytest.mark.parametrize(
    ("status", "body"), [(408, b"{}"), (500, b"{}"), (502, b"<html>"), (503, b""), (504, b"{}"), (200, b"<html>")]
)
async def test_what_does_not_prove_that_nothing_was_made(connect, status, body):
    """Such an answer to a receipt leaves it in doubt, so that it is looked for."""
    async with wire(in_turn(FOUND, answer(status, body))) as vendor:
        [verdict] = await sent(connect(vendor.url), sale())
    assert (verdict.kind, verdict.not_received) == (RETRY, False)


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 405, 407, 409, 413, 415, 422, 425, 429])
async def test_what_proves_that_nothing_was_made(connect, status):
    """Such an answer to a receipt does not send anybody to the books."""
    async with wire(in_turn(FOUND, answer(status, b"{}"))) as vendor:
        [verdict] = await sent(connect(vendor.url), sale())
    assert verdict.not_received


# --- the key --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "", "two words", "nøkkel"], ids=["unreadable", "empty", "a blank", "not ASCII"])
async def test_a_key_that_cannot_be_used(connect, key):
    """Nothing is called; everything waits for a key."""
    room = connect("http://127.0.0.1:9", key=key)
    [verdict] = await sent(room, sale())
    assert (verdict.kind, verdict.code, verdict.not_received) == (HOLD, "vendor.credentials_missing", True)
    with pytest.raises(VendorRefusedError):
        await room.ping()


async def test_a_revoked_key(simulator, connect):
    """It holds the lane, and a ping says so."""
    sim, running = simulator
    room = connect(running.url)
    await room.ping()
    sim.keys.clear()
    [verdict] = await sent(room, sale())
    assert (verdict.kind, verdict.code) == (HOLD, "vendor.credentials_refused")
    with pytest.raises(VendorRefusedError):
        await room.ping()
    sim.keys[KEY] = "location-1"
    assert (await sent(room, sale()))[0].kind is DONE


@pytest.mark.parametrize(("status", "said"), [(200, b""), (200, b"null?"), (200, b"\xff"), (404, b"{}")])
async def test_a_ping_wants_an_answer(connect, status, said):
    """A good status with something else in it is nobody's account, and no such call no address."""
    async with wire(answer(status, said)) as vendor:
        with pytest.raises(VendorUnreachableError):
            await connect(vendor.url).ping()


async def test_the_bare_key(connect):
    """Without a word before it, and JSON in every request."""
    async with wire(in_turn(FOUND, TAKEN)) as vendor:
        await sent(connect(vendor.url), sale())
        for request in vendor.requests:
            head = request.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
            assert {b"authorization: test-key", b"content-type: application/json"} <= set(head)
        assert vendor.requests[0].startswith(b"GET /v1/Customers?externalID=10000421 HTTP/1.1")
        assert vendor.requests[1].startswith(b"POST /v1/Receipts HTTP/1.1")


async def test_alike_sales_of_one_customer_do_not_share_a_receipt(connect):
    """One that is looked for waits for the one that is being sent: its receipt is nobody's until its answer is here."""
    made, asked, looked = [], asyncio.Event(), asyncio.Event()

    async def account(request, writer):
        if request.startswith(b"POST"):
            receipt = {"ReceiptID": f"{len(made):032x}", **json.loads(request.partition(b"\r\n\r\n")[2])}
            made.append(receipt)
            if len(made) == 1:
                asked.set()
                with contextlib.suppress(TimeoutError):  # who looks now would take it; who waits does not look
                    await asyncio.wait_for(looked.wait(), 0.3)
            await answer(200, json.dumps(receipt).encode())(request, writer)
        elif b"/Receipts" in request.split(b"\r\n", 1)[0]:
            looked.set()
            await answer(200, json.dumps(made).encode())(request, writer)
        else:
            await FOUND(request, writer)

    async with wire(account) as vendor:
        room = connect(vendor.url)
        first = asyncio.create_task(room.sender.send([sale("a")]))
        await asked.wait()
        again = await room.sender.send([sale("b", maybe_received=True)])
        verdicts = [*await first, *again]

    assert [verdict.kind for verdict in verdicts] == [DONE, DONE]
    assert len(made) == len({verdict.reference for verdict in verdicts}) == 2


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        (IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value="101"), DONE),
        (IntegrationKey(kind="primary", type=IdentifierType.CONTACT_ID, value="c-1"), PARK),
        (None, DONE),
        (PHONE, DONE),
    ],
    ids=["the id", "no id of theirs", "the number", "a phone"],
)
async def test_whose_it_is_where_monetary_owns_the_contacts(simulator, connect, tag, kind):
    """A contact id is the CustomerID, and nobody has to be asked for it."""
    sim, running = simulator
    [verdict] = await sent(connect(running.url, around={"role": "loyalty"}), sale(tag=tag))
    assert (verdict.kind, [receipt["CustomerID"] for receipt in sim.receipts]) == (kind, [101] if kind is DONE else [])
    assert sim.requests["GET customers"] == (tag in (None, PHONE))


@pytest.mark.parametrize("primary", [IdentifierType.MEMBER_NUMBER, IdentifierType.CONTACT_ID])
async def test_a_number_is_the_external_id_whatever_the_primary_key(simulator, connect, primary):
    """Where Monetary owns the contacts."""
    sim, running = simulator
    room = connect(running.url, around={"role": "loyalty", "primary": primary})
    key = IntegrationKey(kind="secondary", type=IdentifierType.MEMBER_NUMBER, value=MEMBER)
    assert [verdict.kind for verdict in await sent(room, sale(tag=key))] == [DONE]
    assert sim.receipts[0]["CustomerID"] == 101


# --- offers, where Monetary owns the contacts ---------------------------------------------------------------------

CUT = {"type": "1", "description": "Welcome back", "amount": "10.00"}
REDUCED = {"kind": "purchase", "sku": "SK-77", "quantity": "1", "gross_paid": "90.00"}


class Noted:
    """Offers that were redeemed here."""

    def __init__(self, **states):
        self.states = {name.removeprefix("o"): RedemptionState(state) for name, state in states.items()}
        self.refused = []

    def of_sale(self, _transaction_id):
        return dict(self.states)

    async def lost(self, transaction_id, offer_id):
        self.refused.append((transaction_id, offer_id))
        self.states[offer_id] = RedemptionState.LOST


@pytest.fixture
def owned(simulator, connect):
    """The owner of the contacts, whose customer 101 has offer 1 of 10.00 from 50.00 on, and 102 offer 2."""
    sim, running = simulator
    sim.add_customer(ExternalID="10000422")
    until = sim.now() + timedelta(days=31)
    for customer in (101, 102):
        sim.offers.give(customer, until, DiscountAmount=10, MinimumPurchase=50)

    def owned_(noted=None, **table):
        noted = noted or Noted()
        return sim, connect(running.url, around={"role": "loyalty", "offers": lambda: noted}, **table)

    return owned_


def reduced(name="t-1", *, cuts=(CUT,), used=("1",), **changes):
    lines = [{**REDUCED, "discounts": list(cuts)}]
    return sale(name, lines=lines, total="90.00", offers_used=[{"offer_id": one} for one in used], **changes)


def discounts(receipt):
    return [(row["OfferID"], row["Amount"]) for row in receipt["Discounts"]]


@pytest.mark.parametrize(
    ("states", "used"),
    [({}, ("1",)), ({"o1": "redeemed"}, ()), ({"o1": "queued"}, ("1",)), ({"o1": "refused"}, ("1",))],
    ids=["the till says so", "redeemed here", "given unasked", "used all the same"],
)
async def test_an_offer_is_used_up_by_the_receipt(owned, states, used):
    """It stands among the discounts with its id, once."""
    sim, room = owned(Noted(**states))
    assert told(await sent(room, reduced(used=used))) == [(DONE, "")]
    assert discounts(sim.receipts[0]) == [(1, -10)]
    assert sim.offers.of(101, sim.now()) == []


@pytest.mark.parametrize("state", ["released", "undoing", "lost"])
async def test_an_offer_that_was_given_back(owned, state):
    """Its discount is the shop's own, whatever the sale says, and the offer stays."""
    sim, room = owned(Noted(o1=state))
    assert told(await sent(room, reduced())) == [(DONE, "")]
    assert discounts(sim.receipts[0]) == [(None, -10)]
    assert len(sim.offers.of(101, sim.now())) == 1


@pytest.mark.parametrize(
    ("used", "state"),
    [("2", "redeemed"), ("9", "redeemed"), ("x-1", "queued")],
    ids=["another's", "none of theirs", "no number"],
)
async def test_an_offer_that_is_refused(owned, used, state):
    """The sale counts all the same, its discount as the shop's own, and that the offer was no good is told."""
    noted = Noted(**{f"o{used}": state})
    sim, room = owned(noted)
    bad = {**CUT, "type": used}
    assert told(await sent(room, reduced(cuts=[bad], used=[used]))) == [(DONE, "sale.offer_refused")]
    assert discounts(sim.receipts[0]) == [(None, -10)]
    assert noted.refused == [("t-1", used)]


async def test_an_offer_is_used_once(owned):
    """Its second sale goes without it; an expired one and one of too small a sale do as well."""
    sim, room = owned()
    first, second = reduced("t-1"), reduced("t-2")
    assert told(await sent(room, first, second)) == [(DONE, ""), (DONE, "sale.offer_refused")]
    sim.offers.give(101, sim.now() + timedelta(days=1), DiscountAmount=10, MinimumPurchase=5_000)
    sim.offers.give(101, sim.now(), DiscountAmount=10)
    for number in ("3", "4"):
        [verdict] = await sent(room, reduced(f"t-{number}", cuts=[{**CUT, "type": number}], used=[number]))
        assert verdict.code == "sale.offer_refused"
    assert [discounts(receipt) for receipt in sim.receipts] == [[(1, -10)], [(None, -10)], [(None, -10)], [(None, -10)]]


async def test_which_discount_is_an_offer_s_is_not_guessed(owned):
    """Of several kinds of discount none is taken for it: the offer stays, and that is told."""
    sim, room = owned()
    cuts = [{"type": "325", "amount": "4.00"}, {"type": "326", "amount": "6.00"}]
    assert told(await sent(room, reduced(cuts=cuts))) == [(DONE, "sale.offer_untold")]
    assert discounts(sim.receipts[0]) == [(None, -4), (None, -6)]
    assert len(sim.offers.of(101, sim.now())) == 1


async def test_a_sale_that_is_refused_for_itself(owned):
    """Without its offers it is refused as well: parked, and no offer is lost by it."""
    noted = Noted(o1="redeemed")
    sim, room = owned(noted)
    sim.faults.append(Fault(kind="poison", sku="SK-77"))
    assert told(await sent(room, reduced())) == [(PARK, "vendor.rejected")]
    assert (sim.receipts, noted.refused) == ([], [])


@pytest.mark.parametrize("mark", [True, False])
async def test_a_lost_answer_with_an_offer(owned, mark):
    """The receipt is found again by its discounts, though the offer was given back between the attempts."""
    noted = Noted(o1="redeemed")
    sim, room = owned(noted, mark_receipts=mark)
    sim.faults.append(Fault(kind="drop", count=1, path="/v1/[Rr]eceipts", method="POST", after_processing=True))
    [lost] = await sent(room, reduced())
    noted.states["1"] = RedemptionState.RELEASED
    assert (lost.kind, lost.not_received) == (RETRY, False)
    assert told(await sent(room, reduced(maybe_received=True))) == [(DUPLICATE, "")]
    assert len(sim.receipts) == 1


@pytest.mark.parametrize(
    ("on_doubt", "expected", "posts"),
    [
        ("hold", (IN_DOUBT, "sale.maybe_received"), 1),
        ("drop", (DONE, "sale.not_repeated"), 1),
        ("resend", (DONE, "sale.offer_refused"), 2),
    ],
)
async def test_an_offer_refused_to_a_repetition(connect, on_doubt, expected, posts):
    """The first attempt may be what used it up, whatever the books show: it is not sent again unseen."""
    refused, taken = answer(400, b"{}"), answer(200, json.dumps({"ReceiptID": RECEIPT}).encode())
    async with wire(in_turn(FOUND, answer(200, b"[]"), refused, taken)) as vendor:
        room = connect(vendor.url, around={"role": "loyalty", "offers": Noted}, on_doubt=on_doubt)
        assert told(await sent(room, reduced(maybe_received=True))) == [expected]
        assert len([request for request in vendor.requests if request.startswith(b"POST")]) == posts


async def test_a_further_system_hears_of_no_offers(simulator, connect):
    """They are another loyalty system's, and could be taken for one of Monetary's."""
    sim, running = simulator
    sim.offers.give(101, sim.now() + timedelta(days=1), DiscountAmount=10)
    room = connect(running.url, around={"offers": lambda: Noted(o1="redeemed")})
    assert told(await sent(room, reduced())) == [(DONE, "")]
    assert discounts(sim.receipts[0]) == [(None, -10)]


async def test_what_is_given_back_waits_for_a_receipt_on_its_way(connect):
    """The look comes after it: what has gone is not said to be there still."""
    arrived, answered = asyncio.Event(), asyncio.Event()
    receipt = {"ReceiptID": RECEIPT, "Discounts": [{"OfferID": 1, "Amount": -10}]}

    async def slowly(request, writer):
        arrived.set()
        await answered.wait()
        await answer(200, json.dumps(receipt).encode())(request, writer)

    books = answer(200, json.dumps([receipt]).encode())
    key = IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value=MEMBER)
    async with wire(in_turn(FOUND, slowly, FOUND, answer(200, b"[]"), books)) as vendor:
        room = connect(vendor.url, around={"role": "loyalty", "offers": lambda: Noted(o1="redeemed")})
        sending = asyncio.create_task(sent(room, reduced()))
        await arrived.wait()
        looking = asyncio.create_task(
            room.redemptions.standing(Redeemable(key, BenefitKind.OFFER, "1"), timeout_s=5, pace=at_once)
        )
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(looking), 0.2)
        answered.set()
        assert (await looking).standing is Standing.USED
        assert told(await sending) == [(DONE, "")]


# --- who joins ----------------------------------------------------------------------------------------------------

YLVA = {"first_name": "Ylva", "mobile_phone": "+46701740606", "email": "ylva@example.com", "personal_number": "1981"}


def joined(contact=YLVA, *, tag=None):
    activity = make_activity(type=ContactEvent.JOINED, order_id=None, attributes={}, new_contact=contact)
    return make_outgoing(activity, key=tag or primary("10000422"))


def primary(value):
    return IntegrationKey(kind="primary", type=IdentifierType.MEMBER_NUMBER, value=value)


async def test_who_joined_becomes_a_customer(simulator, connect):
    """With what they gave, once, and their sale is theirs; a lost answer and a repeat find them."""
    sim, running = simulator
    room = connect(running.url, unknown_customer="register")
    sim.add(Fault(kind="drop", path="/v1/Customers", method="POST", after_processing=True, count=1))
    verdicts = await sent(room, joined(), joined(), joined(), sale(tag=primary("10000422")))
    assert [verdict.kind for verdict in verdicts] == [RETRY, DONE, DONE, DONE]
    [made] = [one for one in sim.customers.values() if one.get("ExternalID") == "10000422"]
    assert (made["FirstName"], made["Phone"], made["Email"]) == ("Ylva", "0701740606", "ylva@example.com")
    assert (made["AcceptsSMS"], made["AcceptsEmail"]) == (False, False)
    assert "1981" not in str(made)
    assert sim.receipts[0]["CustomerID"] == made["CustomerID"]


async def test_who_joined_and_is_somebody_there(simulator, connect):
    """By their number they are found, and left as they are; whose phone is another member's is left to a person."""
    sim, running = simulator
    room = connect(running.url, unknown_customer="register")
    before = len(sim.customers)
    verdicts = await sent(room, joined(tag=primary(MEMBER)), joined({"mobile_phone": "+46701740605"}))
    assert told(verdicts) == [(DONE, ""), (PARK, "contact.unresolved")]
    assert len(sim.customers) == before


async def test_nobody_is_made_a_customer_unless_it_is_wanted(simulator, connect):
    """The table was changed while it waited: nothing is asked or made, and the attempt says so."""
    sim, running = simulator
    [verdict] = await sent(connect(running.url), joined())
    assert (verdict.kind, verdict.code, dict(sim.requests)) == (DONE, "contact.not_wanted", {})


def test_what_it_hears_of_members():
    """Who joined, where strangers become customers; never what changed: a customer is written whole there."""
    given = NewContact.model_validate({**YLVA, "personal_number": None})
    table = {"base_url": "https://api.example.com/v1"}
    parks, makes = (
        ROOMS["monetary"].settings.model_validate({**table, "unknown_customer": what}) for what in ("park", "register")
    )
    assert (activities_of(parks), activities_of(makes)) == (frozenset(), {ContactEvent.JOINED})
    assert [shares(parks, what, given) for what in ContactEvent] == [None, None]
    assert shares(makes, ContactEvent.CHANGED, given) is None
