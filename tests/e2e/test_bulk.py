"""Many members who join without the line: by one call once it is back, each once, whatever gets lost or is killed."""

from __future__ import annotations

from collections import Counter

import pytest
from e2e.shop import eventually, members

from agent.connectors.voyado.simulator.faults import Fault

pytestmark = pytest.mark.slow
BY_OUR_NUMBER = pytest.mark.parametrize(
    "vendor",
    [{"members": 20, "custom_key": "externalId", "bulk_delay_s": 3600.0}],
    indirect=True,
    ids=["by our number"],
)
BY_PHONE = pytest.mark.parametrize("vendor", [{"members": 20, "bulk_delay_s": 3600.0}], indirect=True, ids=["by phone"])
MANY = 25  # phones of no other member of a small tenant
WRITES = {
    "loyalty": {"fallback_level": 4},
    "replica": {"contents": "contacts", "fields": ["first_name"], "sync_every": "1h"},
    "queue": {"flush_every": "100ms", "backoff_first": "100ms", "backoff_max": "2s"},
}
TOGETHER = {"voyado": {"member_key": "mobile_phone", "custom_key": "external_id"}}
PROBES = 1
"""The sale that tries whether the line is back brings its contact itself."""


def phone_of(number):
    return f"+467017406{50 + number}"


def join(till, number, **given):
    """Somebody joins, and buys something under the number that they are given."""
    body = {"first_name": f"Ylva{number}", "mobile_phone": phone_of(number), "preferences": {"accepts_sms": False}}
    answer = till.http.post("/v1/contacts", json={**body, **given}).json()
    assert answer["state"] == "queued", answer
    assert till.sell(f"s-{number}", integration_key=answer["integration_key"]).status_code == 202
    return answer


def all_delivered(till, count=MANY):
    return all(till.delivered(f"s-{number}") for number in range(count))


def at_the_vendor(vendor, number):
    with vendor.sim.lock:
        return vendor.sim.state.find("mobilePhone", phone_of(number))


def assert_each_is_there_once(vendor, joined):
    """Under the number of ours, with one sale under the contact's own key."""
    found = {number: at_the_vendor(vendor, number) for number in range(len(joined))}
    assert Counter(map(len, found.values())) == {1: len(joined)}
    for number, answer in enumerate(joined):
        (contact,) = found[number]
        assert contact.attributes["externalId"] == answer["integration_key"]["value"]
        assert contact.attributes["createdInStore"] == "1042"
        assert contact.preferences["acceptsSms"] is False
    assert vendor.held() == {f"s-{number}": 1 for number in range(len(joined))} | {"s-other": 1}
    receipts = {receipt["uniqueReceiptId"]: receipt["contact"] for receipt in vendor.receipts()}
    for number in range(len(joined)):
        (contact,) = found[number]
        keys = {"contactId": contact.contact_id, "memberNumber": contact.attributes["memberNumber"]}
        theirs = receipts[f"s-{number}"]
        assert keys[theirs["matchKeyType"]] == theirs["matchKey"]


def sell_to_a_member(vendor, till):
    (member,) = members(vendor, 1)
    number = member.attributes["memberNumber"]
    till.sell("s-other", integration_key={"kind": "primary", "type": "member_number", "value": number})


def carry_out(vendor):
    """The vendor gets to the calls that it has taken."""
    with vendor.sim.lock:
        for batch in vendor.sim.bulk.batches.values():
            batch.due_at = vendor.sim.clock.now()
        vendor.sim.bulk.run_due()


def batches(vendor):
    with vendor.sim.lock:
        return [len(batch.rows) for batch in vendor.sim.bulk.batches.values()]


@BY_OUR_NUMBER
def test_many_who_joined_go_by_one_call(vendor, open_till):
    """Killed while the vendor is at it: it is asked for and not sent again; sales of others go meanwhile."""
    till = open_till(**WRITES, **TOGETHER).start()
    eventually(till.loaded)
    vendor.cut()
    joined = [join(till, number) for number in range(MANY)]
    sell_to_a_member(vendor, till)
    vendor.mend()
    eventually(lambda: till.logged("bulk.sent"))
    eventually(lambda: till.delivered("s-other"))
    till.kill()
    till.start()
    assert sum(len(at_the_vendor(vendor, number)) for number in range(MANY)) == PROBES
    carry_out(vendor)
    eventually(lambda: all_delivered(till))
    assert (batches(vendor), till.status()["conditions"]) == ([MANY - PROBES], [])
    assert_each_is_there_once(vendor, joined)
    told = till.log.read_text() + till.http.get("/metrics").text
    for word in ("Ylva7", phone_of(7)[1:], joined[7]["integration_key"]["value"]):
        assert word not in told


@BY_OUR_NUMBER
@pytest.mark.parametrize("late", [False, True], ids=["carried out", "carried out when nobody waits for it any more"])
def test_the_answer_to_the_call_is_lost(vendor, open_till, late):
    """It is not sent again: whoever is there is found, and nobody is made twice."""
    till = open_till(**WRITES, **TOGETHER).start()
    eventually(till.loaded)
    vendor.cut()
    joined = [join(till, number) for number in range(MANY)]
    with vendor.sim.lock:
        lost = Fault(kind="drop", path="/api/*/contacts/bulk", method="POST", count=1, after_processing=True)
        vendor.sim.faults.add(lost)
    sell_to_a_member(vendor, till)
    vendor.mend()
    eventually(lambda: batches(vendor))
    if not late:
        carry_out(vendor)
    eventually(lambda: all_delivered(till) and till.delivered("s-other"))
    carry_out(vendor)
    assert (batches(vendor), len(till.logged("bulk.unknown"))) == ([MANY - PROBES], 1 if late else 0)
    assert_each_is_there_once(vendor, joined)


@BY_OUR_NUMBER
def test_who_is_erased_while_the_call_is_carried_out(vendor, open_till):
    """Nothing of theirs is left here, and nobody else is kept waiting; the vendor makes them all the same."""
    till = open_till(**WRITES, **TOGETHER).start()
    eventually(till.loaded)
    vendor.cut()
    joined = [join(till, number) for number in range(MANY)]
    vendor.mend()
    eventually(lambda: till.logged("bulk.sent"))
    gone = next(number for number in reversed(range(MANY)) if not at_the_vendor(vendor, number))
    erased = till.http.post("/v1/privacy/erase", json={"identifier": {"type": "mobile_phone", "value": phone_of(gone)}})
    assert erased.json()["counts"]["enrolments"] == 1
    carry_out(vendor)
    eventually(lambda: all(till.delivered(f"s-{number}") for number in range(MANY) if number != gone))
    assert till.http.get(f"/v1/contacts/{joined[gone]['ref']}").status_code == 404
    assert len(at_the_vendor(vendor, gone)) == 1
    assert phone_of(gone)[1:] not in till.log.read_text()


@BY_PHONE
@pytest.mark.parametrize("feed", ["files", "api"])
@pytest.mark.parametrize("order", ["before the answer", "after it"])
def test_the_echo_of_our_own_call(vendor, open_till, feed, order):
    """Whoever comes back with the feed is who joined here: one member, no conflict, and no change to bring."""
    table = {"member_key": "mobile_phone", **({"feed": "api"} if feed == "api" else {})}
    till = open_till(**WRITES, voyado=table).start()
    eventually(till.loaded)
    vendor.cut()
    joined = [join(till, number) for number in range(MANY)]
    sell_to_a_member(vendor, till)
    if order == "before the answer":
        with vendor.sim.lock:
            deaf = vendor.sim.faults.add(Fault(kind="answer", status=404, path="/api/*/contacts/bulk/status"))
    vendor.mend()
    eventually(lambda: till.logged("bulk.sent"))
    carry_out(vendor)
    if order == "after it":
        eventually(lambda: all_delivered(till) and till.delivered("s-other"))
    vendor.sim.export_now()
    eventually(lambda: till.sync() or till.loaded(20 + MANY))
    for number in range(MANY):
        (contact,) = at_the_vendor(vendor, number)
        own = joined[number]["integration_key"]["value"]
        for kind, value in (("mobile_phone", phone_of(number)), ("external_id", own)):
            found = till.identify(kind, value)
            key = found["integration_key"]
            assert (found["outcome"], key["value"]) == ("matched", contact.attributes["memberNumber"])
    if order == "before the answer":
        with vendor.sim.lock:
            vendor.sim.faults.remove(deaf)
        eventually(lambda: all_delivered(till) and till.delivered("s-other"))
        till.sync()
    assert_each_is_there_once(vendor, joined)
    assert (till.loaded(20 + MANY), till.conditions()) == (True, set())
    again = till.http.post("/v1/contacts", json={"mobile_phone": phone_of(7)}).json()
    assert again["integration_key"]["value"] == at_the_vendor(vendor, 7)[0].attributes["memberNumber"]
    assert [till.logged(event) for event in ("contact.existing", "contact.conflict", "contact.parked")] == [[], [], []]


def change(till, ref, **given):
    answer = till.http.patch(f"/v1/contacts/{ref}", json=given)
    assert (answer.status_code, answer.json()["state"]) == (202, "queued"), answer.text


BY_MAIL = pytest.mark.parametrize(
    "vendor", [{"members": 60, "contact_types": {"Member": "email"}, "bulk_delay_s": 3600.0}], indirect=True, ids=[""]
)
SEVERAL = 15


@BY_MAIL
@pytest.mark.parametrize("how", ["asked for", "killed meanwhile", "its answer is lost"])
def test_many_changes_go_by_one_call(vendor, open_till, how):
    """Each arrives once, whatever becomes of the call; a yes and a no go alone, what is said meanwhile goes last."""
    till = open_till(**WRITES, voyado={"member_key": "email"}).start()
    eventually(till.loaded)
    people = members(vendor, SEVERAL + 2)
    refs = [till.identify("email", one.attributes["email"])["contact"]["ref"] for one in people]
    vendor.cut()
    for number, ref in enumerate(refs[:SEVERAL]):
        change(till, ref, first_name=f"Ylva{number}")
    change(till, refs[SEVERAL], preferences={"accepts_email": True})
    change(till, refs[SEVERAL + 1], preferences={"accepts_sms": False})
    if how == "its answer is lost":
        with vendor.sim.lock:
            lost = Fault(kind="drop", path="/api/*/contacts/bulk", method="PATCH", count=1, after_processing=True)
            vendor.sim.faults.add(lost)
    vendor.mend()
    eventually(lambda: batches(vendor))
    eventually(lambda: people[SEVERAL].preferences["acceptsEmail"] is True)
    eventually(lambda: people[SEVERAL + 1].preferences["acceptsSms"] is False)
    change(till, refs[0], last_name="Meanwhile")
    if how == "killed meanwhile":
        eventually(lambda: till.logged("bulk.sent"))
        till.kill()
        till.start()
    carry_out(vendor)
    eventually(lambda: people[0].attributes["lastName"] == "Meanwhile")
    assert batches(vendor) == [SEVERAL]
    names = [one.attributes["firstName"] for one in people[:SEVERAL]]
    assert names == [f"Ylva{number}" for number in range(SEVERAL)]
    vendor.sim.export_now()
    till.sync()
    assert till.conditions() == set()
    assert till.logged("change.parked") == []
    told = till.log.read_text() + till.http.get("/metrics").text
    assert "Ylva7" not in told
    assert people[7].attributes["email"] not in told
