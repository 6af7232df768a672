"""Who is at the till, and how the replica keeps up: played by the installed agent."""

from __future__ import annotations

import shutil

from e2e.shop import eventually, members


def test_half_a_file_is_not_applied(till, vendor):
    """An export that is cut short changes nothing and is named in a condition; the whole file is applied later."""
    alma = members(vendor, 1)[0]
    vendor.sim.faults.spoil_next_export("truncated")
    vendor.sim.state.delete(alma)
    (cut_short,) = vendor.sim.export_now()
    before = till.status()["replica"]
    till.order("sync")
    eventually(lambda: "feed.unreadable" in till.conditions())

    (condition,) = till.status()["conditions"]

    assert cut_short.name in condition["detail"]
    assert till.status()["replica"]["contacts"] == before["contacts"]
    assert till.status()["replica"]["as_of"] == before["as_of"]
    assert till.identify("member_number", alma.value("memberNumber"))["served"]["source"] == "replica"

    vendor.sim.exports.repair()
    till.order("sync")
    eventually(lambda: till.conditions() == set())

    assert till.status()["replica"]["contacts"] == before["contacts"] - 1
    assert till.identify("member_number", alma.value("memberNumber"))["outcome"] == "not_found"


def test_a_missing_part_stops_everything_after_it(till, vendor):
    """Nothing is applied past a gap, from the first sync that sees it; the part that arrives late closes it."""
    newest = max(vendor.exports.glob("*.xml"))
    text = newest.read_text(encoding="utf-8")
    later = "20991231235959"
    for number in (0, 2):
        (vendor.exports / f"{later}_{number}_members.xml").write_text(text, encoding="utf-8")
    till.order("sync")
    eventually(lambda: "feed.gap" in till.conditions())
    (gap,) = [c for c in till.status()["conditions"] if c["code"] == "feed.gap"]

    assert gap["remedy"]
    assert later in gap["detail"]

    (vendor.exports / f"{later}_1_members.xml").write_text(text, encoding="utf-8")
    till.order("sync")
    eventually(lambda: "feed.gap" not in till.conditions())

    assert till.loaded(300)


def test_files_twice_change_nothing(till, vendor):
    """The same content under another name is recognised; the replica stays as it is."""
    before = till.status()["replica"]["contacts"]
    newest = max(vendor.exports.glob("*.xml"))
    shutil.copy(newest, vendor.exports / "20991231235959_0_members.xml")
    till.sync()

    assert till.status()["replica"]["contacts"] == before
    assert till.conditions() == set()


def test_wrong_person(till, vendor):
    """Two members share a phone: nobody is guessed. A number that looks like a phone is looked up both ways."""
    state = vendor.sim.state
    phones = [contact.value("mobilePhone") for contact in state.contacts.values() if contact.contact_type == "Member"]
    shared = next(phone for phone in phones if phone and phones.count(phone) > 1)
    alma = members(vendor, 1)[0]

    ambiguous = till.identify("mobile_phone", shared)
    either = till.identify("any", alma.value("memberNumber"))
    sold = till.sell("s-1", identifier={"type": "mobile_phone", "value": shared}).json()

    assert ambiguous["outcome"] == "ambiguous"
    assert ambiguous["contact"] is None
    assert ambiguous["integration_key"] == {"kind": "secondary", "type": "mobile_phone", "value": shared}
    assert either["outcome"] == "matched"
    assert either["integration_key"]["value"] == alma.value("memberNumber")
    assert sold["integration_key"]["kind"] == "secondary"
    assert "loyalty.ambiguous" in {message["code"] for message in sold["messages"]}


def test_looked_up_live_and_in_the_replica_alike(till, vendor):
    """Online and offline a member is the same member; the answer says which it was and how old."""
    alma = members(vendor, 1)[0]
    online = till.identify("email", alma.value("email").upper())
    vendor.cut()
    offline = till.identify("email", alma.value("email"))
    stranger = till.identify("email", "nobody@example.com")

    assert online["outcome"] == offline["outcome"] == "matched"
    assert online["integration_key"] == offline["integration_key"]
    assert offline["served"]["source"] == "replica"
    assert stranger["outcome"] == "unknown"
    assert stranger["integration_key"] == {"kind": "secondary", "type": "email", "value": "nobody@example.com"}
