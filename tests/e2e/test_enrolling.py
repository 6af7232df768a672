"""Members who join or change something at the till: with the line and without, through a kill -9, exactly once."""

from __future__ import annotations

import json

import pytest
from e2e.shop import eventually

from agent.connectors.voyado.simulator import contacts as simulated

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


def test_a_field_that_comes_as_an_attribute(vendor, open_till):
    """It is refused wherever a contact is given, with the line and without, and gets nowhere."""
    till = open_till(loyalty={**WRITES, "unknown_at_delivery": "create"}, replica=SHOWS).start()
    eventually(till.loaded)
    vendor.cut()
    ref = enrol(till).json()["ref"]
    attributes = {"shoeSize": 39, "MobilePhone": "070-174 06 97", "memberNumber": "10000001"}
    refused = ["/attributes/MobilePhone", "/attributes/memberNumber"]
    sale = {"new_contact": {**YLVA, "attributes": attributes}}

    def told(answer):
        assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")
        return [fault["pointer"] for fault in answer.json()["errors"]]

    for line in (vendor.cut, vendor.mend):
        line()
        assert told(enrol(till, attributes=attributes)) == refused
        assert told(till.http.patch(f"/v1/contacts/{ref}", json={"attributes": attributes})) == refused
        assert told(till.sell("s-1", **sale)) == [f"/new_contact{pointer}" for pointer in refused]
        preview = {"currency": "SEK", "lines": [], **sale}
        assert set(told(till.http.post("/v1/points/preview", json=preview))) >= {f"/new_contact{refused[0]}"}
    assert till.http.patch(f"/v1/contacts/{ref}", json={"attributes": {"shoeSize": 39}}).status_code == 202


# --- changed at the till ------------------------------------------------------------------------------------------

BUDGETS = {"loyalty": {**WRITES, "live_lookup_budget": "20s"}, "enrol": {"budget": "20s"}}
PATIENT = {"connect_timeout": "20s", "read_timeout": "20s"}


def a_member(vendor, **attributes):
    """Somebody with a phone that nobody else has, in the next full export."""
    known = {"firstName": "Ylva", "mobilePhone": E164, "email": "ylva.torpmark@example.com"}
    contact = vendor.enrol(**{**known, **attributes})
    vendor.sim.export_full()
    return contact


def changed(till, ref, **fields):
    return till.http.patch(f"/v1/contacts/{ref}", json=fields)


def shown(till, ref):
    return till.http.get(f"/v1/contacts/{ref}").json()["contact"]["first_name"]


def test_a_member_who_changes_something_without_the_line(vendor, open_till):
    """On disk before the answer, through a kill -9; known here at once; at the vendor once, before it is forgotten."""
    contact = a_member(vendor)
    till = open_till(loyalty=WRITES, replica=SHOWS).start()
    eventually(till.loaded)
    ref = till.identify("mobile_phone", E164)["contact"]["ref"]
    vendor.cut()
    answer = changed(till, ref, first_name="Ylvali", email="ylvali@example.com", preferences={"accepts_sms": False})
    assert (answer.status_code, answer.json()["state"], answer.json()["ref"]) == (202, "queued", ref)
    assert answer.json()["integration_key"]["value"] == contact.attributes["memberNumber"]
    till.kill()

    till.start()
    eventually(lambda: till.identify("email", "ylvali@example.com")["outcome"] == "matched")
    assert till.identify("email", "ylvali@example.com")["contact"]["ref"] == ref
    assert shown(till, ref) == "Ylvali"
    assert changed(till, ref, last_name="Torp").json()["state"] == "queued"
    sold = till.sell("s-1", identifier={"type": "email", "value": "ylvali@example.com"})
    assert sold.json()["integration_key"] == answer.json()["integration_key"]
    assert contact.attributes["firstName"] == "Ylva"

    vendor.mend()
    eventually(lambda: till.delivered("s-1") and contact.attributes.get("lastName") == "Torp")
    assert (contact.attributes["firstName"], contact.attributes["email"]) == ("Ylvali", "ylvali@example.com")
    assert contact.attributes["mobilePhone"] == E164, "what was not given stays"
    assert shown(till, ref) == "Ylvali", "the local contacts are older than the change"
    vendor.sim.export_full()
    till.sync()
    eventually(lambda: shown(till, ref) == "Ylvali")
    told = till.log.read_text() + till.http.get("/metrics").text + till.http.get("/v1/status").text
    for word in ("Ylvali", "ylvali@", "Torp", "701740698"):
        assert word not in told


def test_a_member_who_changes_something_with_the_line(vendor, open_till):
    """The vendor has it with the answer; what it refuses is kept nowhere; what it withdrew since stays withdrawn."""
    contact = a_member(vendor)
    till = open_till(**BUDGETS, replica=SHOWS, http=PATIENT).start()
    eventually(till.loaded)
    ref = till.identify("mobile_phone", E164)["contact"]["ref"]
    answer = changed(till, ref, first_name="Ylvali", consents=[{**TERMS, "value": True}])
    assert (answer.status_code, answer.json()["state"], answer.json()["conflicts"]) == (202, "delivered", [])
    assert contact.attributes["firstName"] == "Ylvali"
    refused = changed(till, ref, first_name="Nobody", consents=[{**TERMS, "id": "unknown"}])
    assert (refused.status_code, refused.json()["code"]) == (422, "contact.refused")
    assert [fault["pointer"] for fault in refused.json()["errors"]] == ["/consents"]
    own = changed(till, ref, attributes={"memberNumber": "1"})
    assert [fault["pointer"] for fault in own.json()["errors"]] == ["/attributes/memberNumber"]
    assert shown(till, ref) == contact.attributes["firstName"] == "Ylvali"

    with vendor.sim.lock:
        contact.consents[0].update(value=False, date="2026-02-15T12:00:00+01:00")
    late = changed(till, ref, last_name="Torp", consents=[TERMS])
    assert (late.json()["state"], late.json()["conflicts"]) == ("delivered", ["consents/memberTerms"])
    assert (contact.consents[0]["value"], contact.attributes["lastName"]) == (False, "Torp")
    assert till.http.patch("/v1/contacts/c_nobody", json={"first_name": "A"}).status_code == 404


def test_who_is_erased_while_a_change_waits(vendor, open_till):
    """By the number that only the till knows yet; nothing of the change is left, and nothing goes to the vendor."""
    contact = a_member(vendor)
    till = open_till(loyalty=WRITES, replica=SHOWS, storage={"encryption": "off"}).start()
    eventually(till.loaded)
    ref = till.identify("mobile_phone", E164)["contact"]["ref"]
    vendor.cut()
    assert changed(till, ref, first_name="Canaryla", mobile_phone="070-174 06 97").json()["state"] == "queued"
    new = {"identifier": {"type": "mobile_phone", "value": "+46701740697"}}
    exported = till.http.post("/v1/privacy/export", json=new).json()
    assert [row["what"] for row in exported["enrolments"]] == ["change"]
    counts = till.http.post("/v1/privacy/erase", json=new).json()["counts"]
    assert (counts["contacts"], counts["enrolments"]) == (1, 1)
    assert till.http.get(f"/v1/contacts/{ref}").status_code == 404
    assert changed(till, ref, first_name="Canaryla").status_code == 404
    left = b"".join(path.read_bytes() for path in till.state.rglob("*") if path.is_file())
    assert b"Canaryla" not in left
    assert b"701740697" not in left
    requests = vendor.requests()
    vendor.mend()
    eventually(lambda: vendor.requests() > requests)
    assert contact.attributes["firstName"] == "Ylva"


def test_what_was_withdrawn_elsewhere_while_a_change_waits(vendor, open_till):
    """The web shop's later word stands when the line is back, the rest is written, and the conflict is on record."""
    contact = a_member(vendor)
    till = open_till(loyalty=WRITES, replica=SHOWS).start()
    eventually(till.loaded)
    ref = till.identify("mobile_phone", E164)["contact"]["ref"]
    vendor.cut()
    given = changed(till, ref, last_name="Torp", consents=[TERMS], preferences={"accepts_sms": True})
    assert given.json()["state"] == "queued"
    with vendor.sim.lock:
        consents = [{"id": "memberTerms", "value": False, "date": "2026-02-15T12:00:00+01:00"}]
        simulated.update(vendor.sim.state, contact, {"consents": consents, "preferences": {"acceptsSms": False}})
    till.kill()
    till.start()
    vendor.mend()
    eventually(lambda: contact.attributes.get("lastName") == "Torp")
    assert ([row["value"] for row in contact.consents], contact.preferences["acceptsSms"]) == ([False], False)
    (told,) = eventually(lambda: till.logged("contact.conflict"))
    assert (told["kept"], told["overwritten"]) == (["consents", "preferences"], [])

    def on_record():
        trail = [json.loads(line) for line in (till.state / "audit.jsonl").read_text().splitlines()]
        return [(entry["kept"], entry["overwritten"]) for entry in trail if entry["event"] == "contact.conflict"]

    assert eventually(on_record) == [(2, 0)]
    assert till.command("audit", "verify").returncode == 0


def test_a_change_that_is_refused_later(vendor, open_till):
    """It waits for a person and holds up no sale; mended, it goes, without what was wrong with it."""
    contact = a_member(vendor)
    till = open_till(loyalty=WRITES, replica=SHOWS).start()
    eventually(till.loaded)
    found = till.identify("mobile_phone", E164)
    ref = found["contact"]["ref"]
    vendor.cut()
    assert changed(till, ref, first_name="Ylvali", consents=[{**TERMS, "id": "unknown"}]).json()["state"] == "queued"
    assert till.sell("s-1", integration_key=found["integration_key"]).status_code == 202
    vendor.mend()
    eventually(lambda: till.delivered("s-1") and "changes.parked" in till.conditions())
    assert shown(till, ref) == contact.attributes["firstName"] == "Ylva"
    assert changed(till, ref, last_name="Torp").status_code == 202
    eventually(lambda: contact.attributes.get("lastName") == "Torp" and "changes.parked" not in till.conditions())
    assert (contact.attributes["firstName"], contact.consents) == ("Ylvali", [])
