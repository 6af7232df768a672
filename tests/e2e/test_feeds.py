"""How the replica comes to be and stays right: export files over a real SFTP server, and the change feed."""

from __future__ import annotations

from collections import Counter

import asyncssh
import pytest
from e2e.shop import eventually, members

pytestmark = pytest.mark.slow

FEW = pytest.mark.parametrize("vendor", [40], indirect=True, ids=["few"])


def number(contact):
    return contact.value("memberNumber")


def restore(vendor, contact):
    with vendor.sim.lock:
        assert vendor.sim.state.restore(contact.contact_id)


def spooled(till):
    spool = till.state / "spool"
    return [path.name for path in spool.iterdir()] if spool.exists() else []


def offline(vendor, till):
    """Cuts the line to the API, so that only the replica can answer."""
    vendor.cut()
    till.ask("email", "nobody@example.com")


@FEW
@pytest.mark.parametrize("feed", ["sftp", "api"])
def test_first_load_delta_tombstone_restore(vendor, open_till, feed, request):
    """Everybody after the first load; then who changed, who left, and who came back, each after one sync."""
    alma, bo, cissi = members(vendor, 3)
    till = open_till(voyado=request.getfixturevalue("sftp") if feed == "sftp" else {"feed": "api"}).start()
    everybody = len(list(vendor.sim.state.members()))
    eventually(lambda: till.loaded(everybody))

    vendor.delete(alma)
    with vendor.sim.lock:
        vendor.sim.state.write(bo, {"mobilePhone": "+46701740698"})
    old_phone, dag = cissi.value("mobilePhone"), vendor.enrol(mobilePhone="+46701740699", firstName="Dag")
    with vendor.sim.lock:
        vendor.sim.state.write(cissi, {"mobilePhone": None})
    vendor.sim.export_now()
    till.sync()
    offline(vendor, till)
    assert till.identify("member_number", number(alma))["outcome"] == "unknown"
    assert till.identify("mobile_phone", "+46701740698")["integration_key"]["value"] == number(bo)
    assert till.identify("mobile_phone", "+46701740699")["integration_key"]["value"] == number(dag)
    assert till.identify("mobile_phone", old_phone)["outcome"] == "unknown"
    assert till.identify("member_number", number(cissi))["outcome"] == "matched"
    assert till.status()["replica"]["contacts"] == everybody

    vendor.mend()
    restore(vendor, alma)
    vendor.sim.export_now()
    till.sync()
    offline(vendor, till)
    assert till.identify("member_number", number(alma))["outcome"] == "matched"
    assert till.identify("email", alma.value("email"))["integration_key"]["value"] == number(alma)
    assert till.status()["replica"]["contacts"] == everybody + 1
    assert spooled(till) == []
    assert till.conditions() <= {"vendor.offline"}


@FEW
def test_another_host_key_is_refused(vendor, open_till, sftp, openssh):
    """A server with another key than the known one gets nothing: a condition, and the last good state stays."""
    alma, bo = members(vendor, 2)
    till = open_till(voyado=sftp).start()
    eventually(till.loaded)
    before = till.status()["replica"]
    known = openssh.known_hosts.read_text()
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    openssh.known_hosts.write_text(f"[127.0.0.1]:{openssh.port} {other}")
    vendor.delete(alma)
    vendor.sim.export_now()
    till.order("sync")
    eventually(lambda: "feed.silent" in till.conditions())

    after = till.status()["replica"]
    assert (after["contacts"], after["as_of"]) == (before["contacts"], before["as_of"])
    assert till.status()["state"] == "degraded"
    assert till.identify("member_number", number(bo))["served"]["source"] == "replica"
    assert "host key" in till.log.read_text()

    openssh.known_hosts.write_text(known)
    till.sync()
    assert till.conditions() == set()
    assert till.status()["replica"]["contacts"] == before["contacts"] - 1


@pytest.mark.parametrize("vendor", [{"members": 12_000, "split_at": 400}], indirect=True, ids=["30 files"])
def test_a_first_load_that_is_killed_goes_on(vendor, open_till, sftp):
    """Kill -9 in the middle of many files: what was applied stays applied, and the next start does the rest."""
    till = open_till(voyado=sftp).start()
    eventually(lambda: len(till.logged("feed.applied")) >= 5)
    till.kill()
    first = Counter(line["file"] for line in till.logged("feed.applied"))
    assert len(first) < 30, "the load was over before the kill"

    till.start()
    eventually(lambda: till.loaded(len(list(vendor.sim.state.members()))))
    files = Counter(line["file"] for line in till.logged("feed.applied"))

    assert max(files.values()) == 1
    assert len(files) >= 29  # the one that was being applied may have no line
    assert spooled(till) == []
    offline(vendor, till)
    for contact in members(vendor, 400)[::40]:
        assert till.identify("member_number", number(contact))["integration_key"]["value"] == number(contact)


@pytest.mark.parametrize("vendor", [{"members": 6_000, "split_at": 300}], indirect=True, ids=["20 files"])
def test_look_ups_answer_while_it_loads(vendor, open_till):
    """While thousands of changes are applied a cashier's look-ups and sales go on as ever."""
    till = open_till().start()
    eventually(lambda: till.loaded(len(list(vendor.sim.state.members()))) and till.logged("synced"))
    people = members(vendor, 50)
    with vendor.sim.lock:
        for contact in list(vendor.sim.state.members()):
            vendor.sim.state.touch(contact, ["city"])
    assert len(vendor.sim.export_now()) == 20
    before = len(till.logged("synced"))

    asked = 0
    till.order("sync")
    while len(till.logged("synced")) == before:
        contact = people[asked % 50]
        answer = till.identify("mobile_phone", contact.value("mobilePhone"))
        assert answer["integration_key"]["value"] == number(contact)
        assert answer["served"]["source"] == "replica"
        asked += 1
    assert asked >= 5  # how many there could be is the bench's to say


@FEW
def test_a_damaged_replica_is_fetched_anew(vendor, open_till, sftp):
    """Bytes of `replica.db` are overwritten: the agent starts, takes sales, says so, and fetches everybody again."""
    alma = members(vendor, 1)[0]
    till = open_till(voyado=sftp).start()
    eventually(till.loaded)
    everybody = till.status()["replica"]["contacts"]
    till.stop()
    damaged = till.state / "replica.db"
    damaged.write_bytes(b"\0" * 100 + damaged.read_bytes()[100:2000] + b"\xff" * 30_000)
    till.start()

    assert till.sell("s-1", identifier={"type": "member_number", "value": number(alma)}).status_code == 202
    eventually(lambda: till.loaded(everybody))
    assert [one for one in till.logged("damage.found") if one["file"] == "replica.db"]
    eventually(lambda: "storage.damaged" not in till.conditions())  # nothing is damaged any more
    assert till.identify("member_number", number(alma))["served"]["source"] == "replica"


@FEW
def test_an_expired_replica_erases_itself(vendor, open_till):
    """Not renewed in time: nobody is found in it any more, it is erased, tagging goes on, and a condition says why."""
    alma = members(vendor, 1)[0]
    till = open_till(
        replica={"stale_after": "1s", "expires_after": "3s", "contents": "contacts", "fields": ["first_name"]},
        storage={"encryption": "off"},
    ).start()
    eventually(till.loaded)
    for path in vendor.exports.iterdir():
        path.unlink()
    vendor.exports.rmdir()
    offline(vendor, till)
    phone = alma.value("mobilePhone")
    stale = eventually(lambda: (answer := till.identify("mobile_phone", phone))["served"]["stale"] and answer)
    eventually(lambda: till.identify("mobile_phone", phone)["outcome"] == "unknown")

    assert "loyalty.stale" in {message["code"] for message in stale["messages"]}
    assert "replica.expired" in till.conditions()
    assert till.status()["level"] == 2
    till.purge()
    assert "replica.expired" in till.conditions()
    assert till.status()["replica"]["contacts"] == 0
    assert not any(alma.contact_id.encode() in path.read_bytes() for path in till.state.iterdir())
    sold = till.sell("s-1", identifier={"type": "mobile_phone", "value": phone}).json()
    assert sold["integration_key"] == {"kind": "secondary", "type": "mobile_phone", "value": phone}

    vendor.mend()
    vendor.sim.export_full()

    def renewed():
        till.order("sync")
        return till.loaded() and "replica.expired" not in till.conditions()

    eventually(renewed)
    eventually(lambda: "s-1" in vendor.posts())
