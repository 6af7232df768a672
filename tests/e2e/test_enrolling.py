"""Members who join at the till: with the line and without it, through a kill -9, exactly once at the vendor."""

from __future__ import annotations

import pytest
from e2e.shop import eventually

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("vendor", [20], indirect=True, ids=["few"])]

E164 = "+46701740698"  # nobody's in a small membership
TERMS = {"id": "memberTerms", "value": True, "given_at": "2026-02-14T16:40:00+01:00", "place": "1042"}
YLVA = {
    "first_name": "Ylva",
    "last_name": "Torpmark",
    "mobile_phone": "070-174 06 98",
    "email": "ylva.torpmark@example.com",
    "preferences": {"accepts_email": True},
    "consents": [TERMS],
}
WRITES = {"fallback_level": 4}
SHOWS = {"contents": "contacts", "fields": ["first_name"], "sync_every": "1h"}


def enrol(till, **changes):
    return till.http.post("/v1/contacts", json={**YLVA, **changes})


def at_the_vendor(vendor):
    """Everybody there who has the phone."""
    with vendor.sim.lock:
        return vendor.sim.state.find("mobilePhone", E164)


def tags(vendor):
    """Under which keys each sale came, however often it was posted."""
    found: dict[str, set[tuple[str, str]]] = {}
    for receipt in vendor.receipts():
        key = receipt["contact"]["matchKeyType"], receipt["contact"]["matchKey"]
        found.setdefault(receipt["uniqueReceiptId"], set()).add(key)
    return found


def test_a_member_who_joins_without_the_line(vendor, open_till):
    """A number at once, sold to under it, a kill -9, sold to again; the vendor has one contact and all of the sales."""
    welcome = [{"id": "welcome", "name": "Welcome offer", "percent": 10}]
    till = open_till(loyalty=WRITES, replica=SHOWS, benefits={"welcome": welcome}).start()
    eventually(till.loaded)
    vendor.cut()
    joined = enrol(till)
    assert (joined.status_code, joined.json()["state"]) == (202, "queued")
    key, ref = joined.json()["integration_key"], joined.json()["ref"]
    offers = till.http.get(f"/v1/contacts/{ref}/benefits").json()["offers"]
    assert [(offer["id"], offer["why"], offer["offline"]) for offer in offers] == [("welcome", "welcome", "allowed")]
    assert key["value"].startswith("1042-03-")
    assert till.sell("s-1", integration_key=key).json()["integration_key"] == key
    till.kill()

    till.start()
    for kind, value in (("mobile_phone", "0701740698"), ("email", YLVA["email"]), ("external_id", key["value"])):
        found = till.identify(kind, value)
        assert (found["outcome"], found["integration_key"], found["contact"]["ref"]) == ("matched", key, ref)
        assert found["contact"]["first_name"] == "Ylva"
    by_phone = {"type": "mobile_phone", "value": "0701740698"}
    assert till.sell("s-2", identifier=by_phone).json()["integration_key"] == key
    assert (enrol(till).status_code, enrol(till).json()["ref"]) == (202, ref)
    assert at_the_vendor(vendor) == []

    vendor.mend()
    eventually(lambda: till.delivered("s-1") and till.delivered("s-2"))
    (contact,) = at_the_vendor(vendor)
    assert (contact.attributes["externalId"], contact.attributes["firstName"]) == (key["value"], "Ylva")
    assert (contact.preferences["acceptsEmail"], contact.preferences["acceptsSms"]) == (True, False)
    assert [(consent["id"], consent["value"]) for consent in contact.consents] == [("memberTerms", True)]
    number = {("memberNumber", contact.attributes["memberNumber"])}
    assert tags(vendor) == {"s-1": number, "s-2": number}
    assert vendor.held() == {"s-1": 1, "s-2": 1}

    again = enrol(till).json()
    assert (again["state"], again["ref"], again["integration_key"]["type"]) == ("delivered", ref, "member_number")
    assert till.sell("s-3", integration_key=key).json()["integration_key"] == again["integration_key"]
    eventually(lambda: till.delivered("s-3"))
    assert len(at_the_vendor(vendor)) == 1
    told = till.log.read_text() + till.http.get("/metrics").text + till.http.get("/v1/status").text
    for word in ("Torpmark", "ylva.torpmark", "701740698", key["value"]):
        assert word not in told


def test_a_member_who_joins_with_the_line(vendor, open_till):
    """The vendor's own key at once; erased, nobody here knows them, and nothing of what they gave is left."""
    patient = {"connect_timeout": "20s", "read_timeout": "20s"}
    budgets = {"loyalty": {**WRITES, "live_lookup_budget": "20s"}, "enrol": {"budget": "20s"}}
    till = open_till(**budgets, http=patient).start()
    eventually(till.loaded)
    joined = enrol(till).json()
    (contact,) = at_the_vendor(vendor)
    assert (joined["state"], joined["integration_key"]["value"]) == ("delivered", contact.attributes["memberNumber"])
    refused = enrol(till, mobile_phone="070-174 06 97", email="x@example.com", consents=[{**TERMS, "id": "unknown"}])
    assert (refused.status_code, refused.json()["code"]) == (422, "contact.refused")
    assert [fault["pointer"] for fault in refused.json()["errors"]] == ["/consents"]
    erased = till.http.post("/v1/privacy/erase", json={"identifier": {"type": "mobile_phone", "value": E164}})
    assert erased.json()["counts"]["enrolments"] == 1
    assert till.http.get(f"/v1/contacts/{joined['ref']}").status_code == 404
