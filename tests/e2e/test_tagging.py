"""Whom a sale belongs to: said at the till, settled at delivery, counted at the vendor."""

from __future__ import annotations

import time

import pytest
from e2e.shop import eventually, members

from agent.connectors.voyado.simulator import Fault

LANGUAGES = ("en-GB", "sv-SE", "de-DE", "fi-FI", "nb-NO", "da-DK")
PHONE = {"type": "mobile_phone", "value": "070-174 06 98"}  # nobody's in a small membership
E164 = "+46701740698"
NEW = {"first_name": "Ylva", "last_name": "Torpmark", "mobile_phone": E164, "email": "ylva.torpmark@example.com"}

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("vendor", [20], indirect=True, ids=["few"])]


def number_of(contact):
    return {"type": "member_number", "value": contact.value("memberNumber")}


def tag_of(vendor, transaction_id):
    """The tag under which the vendor got a sale; the same every time it was sent."""
    (tag,) = {
        (receipt["contact"]["matchKeyType"], receipt["contact"]["matchKey"])
        for receipt in vendor.receipts()
        if receipt["uniqueReceiptId"] == transaction_id
    }
    return tag


def codes(answer):
    return {message["code"] for message in answer["messages"]}


def back(*, quantity="-1", paid="250.00"):
    """The body of a pure return."""
    return {
        "type": "return",
        "total": f"-{paid}",
        "lines": [{"kind": "return", "sku": "SK-77", "quantity": quantity, "gross_paid": paid}],
        "payments": [{"type": "card", "amount": f"-{paid}"}],
    }


def opened(open_till, **tables):
    till = open_till(**tables).start()
    if tables.get("loyalty", {}).get("fallback_level", 3) == 3:
        eventually(till.loaded)
    return till


def gone_offline(vendor, till):
    """Cuts the line and lets the agent notice: with somebody whom only the vendor could know."""
    vendor.cut()
    till.ask("email", "nobody@example.com")
    eventually(lambda: till.status()["state"] == "offline")


@pytest.mark.parametrize(
    ("level", "offline", "key", "said"),
    [
        pytest.param(1, "unknown", None, "loyalty.offline.untagged", id="1"),
        pytest.param(2, "unknown", ("secondary", "mobile_phone"), "loyalty.offline.tagged", id="2"),
        pytest.param(3, "matched", ("primary", "member_number"), "loyalty.offline.replica", id="3"),
    ],
)
def test_levels(vendor, open_till, monkeypatch, level, offline, key, said):  # noqa: PLR0917 - a row of the table
    """Online each level finds the member live or in the replica; offline each does what its name says."""
    alma = members(vendor, 1)[0]
    monkeypatch.setenv("LOYALTY_AGENT__BENEFITS__GENERAL", '[{ id = "member-10", name = "10 % off", percent = 10 }]')
    till = opened(open_till, loyalty={"fallback_level": level})
    phone = {"type": "mobile_phone", "value": alma.value("mobilePhone")}
    online = till.identify(kind="mobile_phone", value=phone["value"])
    assert online["outcome"] == "matched"
    assert online["integration_key"] == {"kind": "primary", **number_of(alma)}
    assert online["served"]["level"] == level
    assert till.sell("online", identifier=phone).status_code == 202
    eventually(lambda: "online" in vendor.posts())
    assert tag_of(vendor, "online") == ("memberNumber", alma.value("memberNumber"))

    gone_offline(vendor, till)
    asked, sold = till.identify("mobile_phone", phone["value"]), till.sell("offline", identifier=phone).json()

    assert asked["outcome"] == offline
    assert asked["served"]["level"] == sold["served"]["level"] == till.status()["level"] == level
    given = sold["integration_key"]
    assert (given and (given["kind"], given["type"])) == key
    assert asked["integration_key"] == given
    assert said in codes(sold)
    assert (level > 1) == (len(till.transaction("offline")["deliveries"]) == 1)
    if level == 1:
        assert {"loyalty.unavailable", "loyalty.general_offers"} <= codes(asked)
    for language in LANGUAGES:
        answer = till.ask("mobile_phone", phone["value"], headers={"Accept-Language": language}).json()
        assert answer["messages"]
        assert {message["locale"] for message in answer["messages"]} == {language}
        assert {message["audience"] for message in answer["messages"]} == {"staff", "customer"}
    vendor.mend()
    eventually(till.drained)
    assert ("offline" in vendor.held()) == (level > 1)


def test_the_six_languages_say_it_differently(vendor, open_till):
    """The same answer has six texts; another language gets the configured one."""
    till = opened(open_till)
    gone_offline(vendor, till)

    def text(language):
        answer = till.ask("mobile_phone", PHONE["value"], headers={"Accept-Language": language}).json()
        return tuple(message["text"] for message in answer["messages"])

    assert len({text(language) for language in LANGUAGES}) == len(LANGUAGES)
    assert text("fr-FR") == text("sv-SE")


def test_no_secondary_keys(vendor, open_till):
    """`secondary_keys = []`: no phone or mail stands on any receipt; the sale waits until it can be named."""
    till = opened(open_till, loyalty={"secondary_keys": []})
    vendor.cut()
    asked = till.identify("mobile_phone", PHONE["value"])
    sold = till.sell("s-1", identifier=PHONE).json()
    stated = till.sell("s-2", integration_key={"kind": "secondary", "type": "mobile_phone", "value": E164})
    nobody = till.sell("s-3", identifier={"type": "email", "value": "nobody@example.com"}).json()
    ylva = vendor.enrol(mobilePhone=E164, email="ylva.torpmark@example.com")
    vendor.mend()
    eventually(lambda: till.delivered("s-1"))
    (parked,) = eventually(lambda: till.queue("parked"))

    assert asked["integration_key"] is None
    assert sold["integration_key"] is nobody["integration_key"] is None
    assert "loyalty.offline.untagged" in codes(sold)
    assert stated.status_code == 422
    assert tag_of(vendor, "s-1") == ("memberNumber", ylva.value("memberNumber"))
    assert (parked["transaction_id"], parked["last_error"]["code"]) == ("s-3", "contact.unknown")
    assert {receipt["contact"]["matchKeyType"] for receipt in vendor.receipts()} == {"memberNumber"}


def test_a_secondary_key_rises_to_the_primary(vendor, open_till):
    """A sale tagged with a phone offline goes out under the member number of who was enrolled meanwhile."""
    till = opened(open_till)
    gone_offline(vendor, till)
    till.order("pause")
    sold = till.sell("s-1", identifier=PHONE).json()
    ylva = vendor.enrol(mobilePhone=E164, firstName="Ylva")
    vendor.mend()
    till.order("resume")
    eventually(till.drained)

    assert sold["integration_key"] == {"kind": "secondary", "type": "mobile_phone", "value": E164}
    assert till.transaction("s-1")["integration_key"] == {"kind": "primary", "type": "member_number"}
    assert tag_of(vendor, "s-1") == ("memberNumber", ylva.value("memberNumber"))
    assert till.sell("s-1", identifier=PHONE).json()["integration_key"] == sold["integration_key"]


@pytest.mark.parametrize("choice", ["tag", "create", "park"])
def test_unknown_at_delivery(vendor, open_till, choice):
    """Somebody the vendor turns out not to know is tagged, created or parked, as configured."""
    till = opened(open_till, loyalty={"unknown_at_delivery": choice})
    before = len(vendor.sim.state.contacts)
    assert till.sell("s-1", identifier=PHONE).status_code == 202
    eventually(lambda: till.transaction("s-1")["state"] in ("delivered", "parked"))
    created = len(vendor.sim.state.contacts) - before

    if choice == "park":
        assert till.queue("parked")[0]["last_error"]["code"] == "contact.unknown"
        assert (vendor.posts(), created) == ({}, 0)
    elif choice == "create":
        (ylva,) = vendor.sim.state.find("mobilePhone", E164)
        assert tag_of(vendor, "s-1") == ("memberNumber", ylva.value("memberNumber"))
        assert (vendor.held(), created) == ({"s-1": 1}, 1)
    else:
        assert tag_of(vendor, "s-1") == ("mobilePhone", E164)
        assert created == 0


def test_a_new_contact_is_made_once(vendor, open_till):
    """The answer to the creation is lost: the contact is there once, and the sale is its own."""
    till = opened(open_till)
    before = len(vendor.sim.state.contacts)
    vendor.sim.faults.add(Fault(kind="drop", path="/api/*/contacts", method="POST", after_processing=True, count=1))
    consents = [{"id": "memberTerms", "value": True, "given_at": "2026-02-14T16:40:00+01:00", "place": "Kassa 3"}]
    sold = till.sell("s-1", new_contact={**NEW, "preferences": {"accepts_email": True}, "consents": consents})
    eventually(till.drained)
    (ylva,) = vendor.sim.state.find("mobilePhone", E164)

    assert sold.status_code == 202
    assert len(vendor.sim.state.contacts) == before + 1
    assert vendor.held() == {"s-1": 1}
    assert tag_of(vendor, "s-1") == ("memberNumber", ylva.value("memberNumber"))
    assert (ylva.preferences["acceptsEmail"], ylva.preferences["acceptsSms"]) == (True, False)
    assert [consent["id"] for consent in ylva.consents] == ["memberTerms"]
    assert ylva.source == "POS"
    assert ylva.value("createdInStore") == "1042"


def test_another_till_was_faster(vendor, open_till):
    """Whom another till made in the meantime is not made again, whether the look-up sees it or the creation does."""
    till = opened(open_till)
    vendor.cut()
    assert till.sell("s-1", new_contact=NEW).status_code == 202
    ylva = vendor.enrol(mobilePhone=E164, firstName="Ylva")
    before = len(vendor.sim.state.contacts)
    vendor.sim.faults.add(
        Fault(kind="answer", path="*/contacts/id", status=404, body="error", count=1)
    )  # too early for the look-up
    vendor.mend()
    eventually(till.drained)

    assert len(vendor.sim.state.contacts) == before
    assert tag_of(vendor, "s-1") == ("memberNumber", ylva.value("memberNumber"))


def test_ambiguous_stays_secondary(vendor, open_till):
    """Two members share a phone: the sale keeps it, at the till and at delivery, and nobody is guessed."""
    vendor.enrol(mobilePhone=E164)
    vendor.sim.state.write(vendor.enrol(mobilePhone="+46701740697"), {"mobilePhone": E164})
    vendor.sim.export_now()
    till = opened(open_till)
    sold = till.sell("s-1", identifier=PHONE).json()
    eventually(till.drained)

    assert codes(sold) == {"loyalty.ambiguous"}
    assert sold["integration_key"] == {"kind": "secondary", "type": "mobile_phone", "value": E164}
    assert tag_of(vendor, "s-1") == ("mobilePhone", E164)


def test_guests_and_claims(vendor, open_till):
    """A guest's sale has no delivery here; its points can be claimed afterwards, once."""
    alma, bo = members(vendor, 2)
    till = opened(open_till)
    guest = till.sell("s-1").json()
    claim = till.sell("claim-1", type="points_claim", original_transaction_id="s-1", identifier=number_of(alma))
    eventually(till.drained)
    again = till.sell("claim-2", type="points_claim", original_transaction_id="s-1", identifier=number_of(bo))
    loose = till.sell("claim-3", type="points_claim", identifier=number_of(bo))
    eventually(till.drained)

    assert (guest["state"], guest["integration_key"]) == ("delivered", None)
    assert till.transaction("s-1")["deliveries"] == []
    assert claim.status_code == loose.status_code == 202
    assert again.status_code == 409
    assert vendor.held() == {"claim-1": 1, "claim-3": 1}
    assert tag_of(vendor, "claim-1")[1] == alma.value("memberNumber")


def test_an_exchange(vendor, open_till):
    """One receipt with both kinds of lines, signed as the vendor wants them."""
    alma = members(vendor, 1)[0]
    till = opened(open_till)
    lines = [
        {"kind": "return", "sku": "SK-77", "quantity": "-1", "gross_paid": "100.00", "tax_amount": "20.00"},
        {"kind": "purchase", "sku": "SK-88", "quantity": "1", "gross_paid": "250.00", "tax_amount": "50.00"},
    ]
    sold = till.sell("s-1", lines=lines, total="150.00", payments=[{"type": "card", "amount": "150.00"}],
                     identifier=number_of(alma))  # fmt: skip
    eventually(till.drained)
    (receipt,) = vendor.receipts()

    assert sold.status_code == 202
    assert receipt["totalGrossPrice"] == 150
    assert [
        (item["type"], item["quantity"], item["grossPaidPrice"], item["taxAmount"]) for item in receipt["items"]
    ] == [
        ("RETURN", -1, 100, 20),
        ("PURCHASE", 1, 250, 50),
    ]
    assert vendor.held() == {"s-1": 1}


def test_a_return_waits_for_its_purchase(vendor, open_till):
    """While the purchase is parked its return stays; when a person lets it go both arrive, in order."""
    alma = members(vendor, 1)[0]
    till = opened(open_till)
    poison = vendor.sim.faults.add(Fault(kind="poison", receipt_id="s-1"))
    till.sell("s-1", identifier=number_of(alma))
    (entry,) = eventually(lambda: till.queue("parked"))
    till.sell("r-1", original_transaction_id="s-1", identifier=number_of(alma), **back())
    till.sell("s-2", identifier=number_of(alma))
    eventually(lambda: till.delivered("s-2"))
    waiting = till.transaction("r-1")["state"]
    vendor.sim.faults.remove(poison)
    till.http.post(f"/v1/queue/{entry['entry']}/retry")
    eventually(till.drained)

    assert waiting == "queued"
    assert [receipt["uniqueReceiptId"] for receipt in vendor.receipts()] == ["s-2", "s-1", "r-1"]
    assert vendor.held() == {"s-1": 1, "s-2": 1, "r-1": 1}
    assert [receipt["totalGrossPrice"] for receipt in vendor.receipts()] == [250, 250, -250]


def test_voids(vendor, open_till):
    """A void of what was not sent cancels both; of what was sent every line goes as returned, under the same member."""
    alma = members(vendor, 1)[0]
    till = opened(open_till)
    till.sell("sent", identifier=number_of(alma))
    eventually(till.drained)
    till.order("pause")
    till.sell("unsent", identifier=number_of(alma))
    unsent, sent = till.void("v-1", "unsent"), till.void("v-2", "sent")
    twice, unknown = till.void("v-3", "sent"), till.void("v-4", "never-seen")
    till.order("resume")
    eventually(till.drained)
    given_back = vendor.receipts()[-1]

    assert (unsent.status_code, sent.status_code, twice.status_code, unknown.status_code) == (202, 202, 409, 422)
    assert vendor.held() == {"sent": 1, "v-2": 1}
    assert given_back["totalGrossPrice"] == -250
    assert [(item["type"], item["quantity"]) for item in given_back["items"]] == [("RETURN", -2)]
    assert given_back["contact"]["matchKey"] == alma.value("memberNumber")
    assert till.transaction("unsent")["state"] == till.transaction("v-1")["state"] == "delivered"


def test_a_hanging_vendor_keeps_nobody_waiting(vendor, open_till):
    """Look-ups answer within the budget; after a few the vendor is not asked any more; sales are instant."""
    till = opened(
        open_till,
        loyalty={"live_lookup_budget": "2s"},
        queue={"backoff_first": "10m", "backoff_max": "10m"},
        http={"connect_timeout": "60s", "read_timeout": "60s"},
    )
    vendor.sim.faults.add(Fault(kind="hang", path="/api/*/contacts/*"))
    took, asked = [], []
    for number in range(8):
        before, start = vendor.requests(), time.monotonic()
        answer = till.identify("mobile_phone", f"+4670174069{number}")
        took.append(time.monotonic() - start)
        asked.append(vendor.requests() - before)
        assert answer["outcome"] == "unknown"
        assert answer["integration_key"]["kind"] == "secondary"
    start = time.monotonic()
    sold = till.sell("s-1", identifier=PHONE)

    took.append(time.monotonic() - start)
    assert max(took) < 20.0  # of the sixty seconds that the vendor would take
    assert sum(asked) <= 4
    assert asked[-3:] == [0, 0, 0]
    assert sold.status_code == 202
