"""The end of personal data: by the shop's order, by the vendor while the till was off, and by its age."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from e2e.shop import eventually, members
from e2e.traces import NUMBER, OF_ZAPHIRA, SAID, ZAPHIRA, enrol, found_in, left_in
from faults.hostile import descendants

from agent.connectors.voyado.simulator import Fault

pytestmark = pytest.mark.slow
FEW = pytest.mark.parametrize("vendor", [5], indirect=True, ids=["few"])

REFUSED = "privacy.erasure_refused_by_feed"
PHONE = {"type": "mobile_phone", "value": "070-174 06 99"}
LATER = (sys.executable, str(Path(__file__).with_name("later.py")))
KEPT = {"contents": "contacts", "fields": ["first_name", "last_name", "street", "mobile_phone", "email"]}
LINES = [{"kind": "return", "sku": "SK-77", "quantity": "-1", "gross_paid": "250.00"}]
GIVEN_BACK = {"lines": LINES, "payments": [{"type": "card", "amount": "-250.00"}], "total": "-250.00"}


def open_shop(open_till, **tables):
    till = open_till(storage={"encryption": "off"}, replica=KEPT, log={"level": "debug"}, **tables).start()
    eventually(till.loaded)
    return till


def sell_to_zaphira(till, *, name="z"):
    """Every kind of sale she can be named in, all of them waiting; how many."""
    till.vendor.cut()
    eventually(lambda: till.status()["state"] == "offline")
    number = {"kind": "primary", "type": "member_number", "value": NUMBER}
    secondary = {"kind": "secondary", "type": "email", "value": "zaphira.kvistgren@example.com"}
    contact = {"first_name": "Zaphira", "street": "Mossbergsklinten 77", "mobile_phone": "070-174 06 99"}
    answers = [
        till.sell(f"{name}-phone", identifier=PHONE, **SAID),
        till.sell(f"{name}-any", identifier={"type": "any", "value": "zaphira.kvistgren@example.com"}),
        till.sell(f"{name}-number", integration_key=number, cashier_id="kassa-Xylofia"),
        till.sell(f"{name}-open", integration_key=secondary),
        till.sell(f"{name}-new", new_contact=contact),
        till.sell(f"{name}-back", type="return", original_transaction_id=f"{name}-phone", **GIVEN_BACK),
    ]
    assert [answer.status_code for answer in answers] == [202] * 6
    return 6  # the return names nobody, and is owed to whom the sale is that it is about


def states(till):
    """How every sale that was hers stands."""
    return {
        name: (sale["state"], sale["integration_key"], len(sale["deliveries"]))
        for name in ("z-phone", "z-any", "z-number", "z-open", "z-new", "z-back")
        for sale in [till.transaction(name)]
    }


UNTAGGED = dict.fromkeys(("z-phone", "z-any", "z-number", "z-open", "z-new", "z-back"), ("delivered", None, 0))


@FEW
def test_erased_at_the_vendor_while_the_till_was_off(vendor, open_till):
    """Off for twenty days, in which a member left: one sync, and she is gone from everything; others are not."""
    contact = enrol(vendor)
    bystander = members(vendor, 1)[0]
    till = open_shop(open_till)
    assert till.sell("delivered", identifier=PHONE).status_code == 202
    eventually(lambda: till.delivered("delivered"))
    sell_to_zaphira(till)
    assert till.sell("bystander", identifier={"type": "email", "value": bystander.value("email")}).status_code == 202
    till.kill()
    assert {"zaphira", "kassa-xylofia", NUMBER} <= set().union(*left_in(till.state, OF_ZAPHIRA).values())

    vendor.delete(contact)
    vendor.sim.export_now()
    vendor.sim.faults.clock_skew_s = 20 * 86_400.0
    till.start(wrapper=(*LATER, "20"))
    eventually(lambda: till.logged("privacy.erased_by_feed"))
    eventually(lambda: len(till.logged("synced")) == 2)

    assert left_in(till.state, OF_ZAPHIRA) == {}
    assert found_in(till.log.read_bytes(), OF_ZAPHIRA) == set()
    assert states(till) == UNTAGGED
    assert till.status()["queue"]["depth"] == 1
    vendor.mend()
    eventually(till.drained)
    assert vendor.posts() == {"delivered": 1, "bystander": 1}
    assert till.identify("mobile_phone", "070-174 06 99")["outcome"] == "not_found"
    (entry,) = [line for line in (till.state / "audit.jsonl").read_text().splitlines() if "erased_by_feed" in line]
    assert (json.loads(entry)["sales_waiting"], json.loads(entry)["contacts"]) == (6, 1)


@FEW
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("mobile_phone", "0701740699"),
        ("email", "Zaphira.Kvistgren@example.com"),
        ("member_number", NUMBER),
        ("any", "070-174 06 99"),
    ],
)
def test_erased_by_the_shop_s_order(vendor, open_till, kind, value):
    """No byte is left when the answer is given, whatever names her; the sales stay, and nobody else is touched."""
    enrol(vendor)
    bystander = members(vendor, 1)[0]
    till = open_shop(open_till)
    assert till.sell("delivered", identifier=PHONE, **SAID).status_code == 202
    eventually(lambda: till.delivered("delivered"))
    waiting = sell_to_zaphira(till)
    assert till.sell("bystander", identifier={"type": "email", "value": bystander.value("email")}).status_code == 202
    answer = till.http.post("/v1/privacy/erase", json={"identifier": {"type": kind, "value": value}})

    assert answer.status_code == 200
    assert left_in(till.state, OF_ZAPHIRA) == {}
    counts = answer.json()["counts"]
    assert (counts["contacts"], counts["sales_waiting"], counts["sales_finished"]) == (1, waiting, 1)
    assert found_in(answer.content + till.log.read_bytes(), OF_ZAPHIRA) == set()
    assert states(till) == UNTAGGED
    assert till.transaction("delivered")["state"] == "delivered"
    again = till.http.post("/v1/privacy/erase", json={"identifier": {"type": kind, "value": value}})
    assert (again.status_code, set(again.json()["counts"].values())) == (200, {0})
    vendor.mend()
    eventually(till.drained)
    assert vendor.posts() == {"delivered": 1, "bystander": 1}
    assert till.stop() == 0
    assert left_in(till.state, OF_ZAPHIRA) == {}
    assert till.command("audit", "verify").returncode == 0


@FEW
def test_an_erasure_that_is_killed(vendor, open_till):
    """Killed at any moment of it and asked again, by a phone that half of her sales do not have: nothing is left."""
    contact = enrol(vendor)
    till = open_shop(open_till)
    till.kill()
    fed = {path.name: path.read_bytes() for path in till.state.iterdir() if path.is_file()}
    for delay_ms in range(0, 40, 5):
        for path in till.state.glob("*"):
            if path.is_file():
                path.unlink()
        for name, content in fed.items():
            (till.state / name).write_bytes(content)
        vendor.mend()
        till.start()
        sell_to_zaphira(till)
        by_id = {"identifier": {"type": "contact_id", "value": contact.contact_id}}
        asking = threading.Thread(target=_ask, args=(till, by_id))
        asking.start()
        time.sleep(delay_ms / 1000)
        till.kill()
        asking.join()
        till.start()
        assert till.http.post("/v1/privacy/erase", json={"identifier": PHONE}).status_code == 200
        assert left_in(till.state, OF_ZAPHIRA) == {}
        assert states(till) == UNTAGGED
        till.kill()


def _ask(till, body):
    with contextlib.suppress(httpx.TransportError):
        till.http.post("/v1/privacy/erase", json=body)


@FEW
@pytest.mark.parametrize("named", [PHONE, {"type": "member_number", "value": NUMBER}], ids=["phone", "number"])
def test_erased_after_the_replica_has_ended(vendor, open_till, named):
    """What a sale remembers of her by hash leads to it though the replica that knew her has gone, with its key."""
    enrol(vendor)
    kept = KEPT | {"stale_after": "1s", "expires_after": "4s"}
    till = open_till(storage={"encryption": "off"}, replica=kept, log={"level": "debug"}).start()
    eventually(till.loaded)
    secondary = {"kind": "secondary", "type": "mobile_phone", "value": "+46701740699"}
    assert till.sell("open", integration_key=secondary, **SAID).status_code == 202
    assert till.sell("known", identifier=PHONE, **SAID).status_code == 202
    eventually(till.drained)
    vendor.exports.rename(vendor.exports.with_name("hidden"))
    vendor.cut()
    assert till.sell("back", type="return", original_transaction_id="open", **GIVEN_BACK).status_code == 202
    eventually(lambda: "replica.expired" in till.conditions())
    assert NUMBER in set().union(*left_in(till.state, OF_ZAPHIRA).values())

    assert till.http.post("/v1/privacy/erase", json={"identifier": named}).status_code == 200
    assert left_in(till.state, OF_ZAPHIRA) == {}
    assert "replica.expired" in (till.state / "audit.jsonl").read_text()


@FEW
def test_the_feed_cannot_bring_her_back(vendor, open_till):
    """Sent again she is refused, also by a rebuild from the beginning, and it is told until the vendor removes her."""
    contact = enrol(vendor)
    till = open_shop(open_till)
    done = till.command("privacy", "erase", "--type", "email", "--json", input="zaphira.kvistgren@example.com\n")
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)["receipt"]["id"]
    with vendor.sim.lock:
        vendor.sim.state.touch(contact, ["city"])
    vendor.sim.export_now()
    till.sync()
    (detail,) = [row["detail"] for row in till.status()["conditions"] if row["code"] == REFUSED]

    assert receipt in detail
    assert left_in(till.state, OF_ZAPHIRA) == {}
    till.stop()
    (till.state / "replica.db").unlink()  # everything the feed has is read anew
    till.start()
    eventually(till.loaded)
    assert REFUSED in till.conditions()
    assert till.status()["replica"]["contacts"] == len(list(vendor.sim.state.members())) - 1
    assert left_in(till.state, OF_ZAPHIRA) == {}

    vendor.delete(contact)
    vendor.sim.export_now()
    till.sync()
    assert REFUSED not in till.conditions()
    anew = {"firstName": "Zaphira", "mobilePhone": "+46701740699", "email": "zaphira.kvistgren@example.com"}
    vendor.enrol(**anew)
    vendor.sim.export_now()
    till.sync()
    vendor.cut()
    assert till.identify("mobile_phone", "070-174 06 99")["outcome"] == "matched", "she registered anew"


@FEW
@pytest.mark.parametrize("before", ["mobile_phone", "email"])
def test_whom_only_the_vendor_knows(vendor, open_till, before):
    """What she used up is found by whatever she was named by, before that or since, by a run that saw none of it."""
    till = open_shop(open_till, loyalty={"live_lookup_budget": "20s"}, benefits={"redeem_budget": "20s"})
    with vendor.sim.lock:
        vendor.sim.state.next_member_number = int(NUMBER)
    contact = vendor.enrol(**ZAPHIRA)  # and not exported
    with vendor.sim.lock:
        voucher = vendor.sim.rewards.issue_voucher(contact.contact_id)
    said = {"mobile_phone": "070-174 06 99", "email": "Zaphira.Kvistgren@example.com"}
    since = next(kind for kind in said if kind != before)
    till.identify(before, said[before])
    ref = till.identify("member_number", NUMBER)["contact"]["ref"]
    wish = {"ref": ref, "kind": "voucher", "id": voucher.voucher_id, "transaction_id": "v-1"}
    assert till.http.post("/v1/benefits/redeem", json=wish).json()["outcome"] == "redeemed"
    assert till.identify(since, said[since])["contact"]["ref"] == ref
    hers = (*OF_ZAPHIRA, voucher.voucher_id)
    assert left_in(till.state, hers).keys() <= {"outbox.db", "outbox.db-wal"}
    till.kill()
    till.start()
    eventually(till.loaded)
    assert {NUMBER, voucher.voucher_id} <= set().union(*left_in(till.state, hers).values())
    for kind, value in said.items():
        body = {"identifier": {"type": kind, "value": value}}
        (row,) = till.http.post("/v1/privacy/export", json=body).json()["redemptions"]
        assert row["id"] == voucher.voucher_id
    stranger = {"identifier": {"type": "mobile_phone", "value": "070-174 06 98"}}
    assert till.http.post("/v1/privacy/erase", json=stranger).json()["counts"]["redemptions"] == 0
    body = {"identifier": {"type": since, "value": said[since]}}
    assert till.http.post("/v1/privacy/erase", json=body).json()["counts"]["redemptions"] == 1
    assert left_in(till.state, hers) == {}


@FEW
def test_a_sale_that_is_on_its_way(vendor, open_till):
    """What the vendor is about to answer is waited for, and then erased with the rest."""
    enrol(vendor)
    till = open_shop(open_till, http={"read_timeout": "20s"})
    vendor.sim.faults.add(Fault(kind="latency", path="*receipts*", delay_s=2.0, count=1))
    assert till.sell("slow", identifier=PHONE, **SAID).status_code == 202
    eventually(lambda: not vendor.sim.faults.rules[0].count)
    answer = till.http.post("/v1/privacy/erase", json={"identifier": PHONE}, timeout=30)

    assert answer.json()["counts"]["sales_finished"] == 1
    assert till.transaction("slow")["state"] == "delivered"
    assert left_in(till.state, OF_ZAPHIRA) == {}
    assert vendor.posts() == {"slow": 1}


@FEW
def test_several_who_share_a_phone(vendor, open_till):
    """Nobody is guessed: 409, and nothing is erased or shown until she is named by what is hers alone."""
    enrol(vendor)
    other = vendor.enrol(firstName="Torvaldo", mobilePhone="+46701740698", email="torvaldo@example.com")
    with vendor.sim.lock:
        vendor.sim.state.write(other, {"mobilePhone": "+46701740699"})
    vendor.sim.export_now()
    till = open_shop(open_till)
    before = left_in(till.state, OF_ZAPHIRA)
    for call in ("erase", "export"):
        answer = till.http.post(f"/v1/privacy/{call}", json={"identifier": PHONE})
        assert (answer.status_code, answer.json()["code"]) == (409, "privacy.ambiguous")
        done = till.command("privacy", call, "--type", "mobile_phone", "--json", input="0701740699")
        assert done.returncode == 1
        assert found_in((answer.text + done.stdout + done.stderr).encode(), OF_ZAPHIRA) == set()
    assert left_in(till.state, OF_ZAPHIRA) == before

    number = {"type": "member_number", "value": NUMBER}
    assert till.http.post("/v1/privacy/erase", json={"identifier": number}).json()["counts"]["contacts"] == 1
    own = tuple(canary for canary in OF_ZAPHIRA if "174" not in canary)
    assert left_in(till.state, own) == {}
    vendor.cut()
    assert till.identify("email", "torvaldo@example.com")["outcome"] == "matched"


@FEW
def test_everything_is_exported(vendor, open_till, tmp_path):
    """What is on file of her is in the document, and on nobody's screen but the file's owner's."""
    enrol(vendor)
    till = open_shop(open_till)
    sell_to_zaphira(till)
    path = tmp_path / "export.json"
    done = till.command("privacy", "export", "--output", path, "--type", "mobile_phone", input="070-174 06 99\n")
    assert done.returncode == 0, done.stderr
    export = json.loads(path.read_text())

    assert path.stat().st_mode & 0o777 == 0o600
    assert found_in((done.stdout + done.stderr).encode(), OF_ZAPHIRA) == set()
    assert {sale["transaction_id"] for sale in export["sales"]} == set(UNTAGGED)
    assert export["contacts"][0]["fields"]["first_name"] == "Zaphira"
    hashed = {"3103142380", "310314-2380", "yttre-zaph-7", "kort99z77"}
    unkept = {"1931-03-14", "070-174 06 99"}  # not configured to be kept, and kept in another spelling
    everything = {*OF_ZAPHIRA} - hashed - unkept
    assert found_in(path.read_bytes(), OF_ZAPHIRA) == everything
    till.http.post("/v1/privacy/erase", json={"identifier": PHONE})
    after = till.http.post("/v1/privacy/export", json={"identifier": PHONE}).json()
    assert after["counts"] == {"contacts": 0, "sales": 0, "activities": 0, "withheld": 0, "audit": 0}


@pytest.mark.parametrize("vendor", [{"members": 6_000, "split_at": 300}], indirect=True, ids=["20 files"])
def test_erased_in_the_middle_of_the_first_load(vendor, open_till):
    """While the replica is being built she is thrown out of it, and the load that goes on does not bring her back."""
    contact = members(vendor, 200)[0]
    hers = (contact.value("email"), contact.value("memberNumber"))
    till = open_till(storage={"encryption": "off"}, replica=KEPT, log={"level": "debug"}).start()
    eventually(lambda: len(till.logged("feed.applied")) >= 3)
    loaders = list(descendants(till.process.pid))
    for loader in loaders:  # while it is looked at, lest it comes to its end meanwhile
        os.kill(loader, signal.SIGSTOP)
    assert not till.loaded(), "the load was over before the erasure"
    assert left_in(till.state, hers) != {}
    for loader in loaders:
        os.kill(loader, signal.SIGCONT)
    contact_id = {"type": "contact_id", "value": contact.contact_id}
    assert till.http.post("/v1/privacy/erase", json={"identifier": contact_id}, timeout=60).status_code == 200
    assert left_in(till.state, hers) == {}
    eventually(till.loaded)
    assert till.status()["replica"]["contacts"] == len(list(vendor.sim.state.members())) - 1
    assert left_in(till.state, hers) == {}


@FEW
def test_a_sale_that_could_never_be_delivered(vendor, open_till):
    """After `retention.undelivered` the person is erased, the sale stays, parked, and a repeat is still recognised."""
    till = open_till(storage={"encryption": "off"}, retention={"delivered": "2s", "undelivered": "8s"}).start()
    eventually(till.loaded)
    vendor.cut()
    said = {"identifier": PHONE, "cashier_id": "kassa-Xylofia"}
    assert till.sell("s-1", **said).status_code == 202
    till.purge()
    early = till.transaction("s-1")["state"]
    eventually(lambda: till.transaction("s-1")["state"] != "queued")  # after retention.undelivered
    till.purge()
    sold = till.transaction("s-1")
    repeat = till.sell("s-1", **said)

    assert early == "queued"
    assert sold["state"] == "parked"
    assert sold["deliveries"][0]["last_error"]["code"] == "retention.expired"
    assert "queue.parked" in till.conditions()
    assert left_in(till.state, OF_ZAPHIRA) == {}
    assert repeat.status_code == 200
    assert repeat.json()["integration_key"] == {"kind": "secondary", "type": "mobile_phone", "value": None}
    assert till.sell("s-1", **{**said, "total": "1"}).status_code in (409, 422)
    vendor.mend()
    till.order("flush")
    till.sell("s-2", identifier=said["identifier"])
    eventually(till.drained)
    assert vendor.posts() == {"s-2": 1}


@FEW
def test_seconds_are_kept_to_without_an_order(vendor, open_till):
    """Nobody asks for a purge: what is delivered goes after its seconds, and so does what cannot be."""
    till = open_till(storage={"encryption": "off"}, retention={"delivered": "2s", "undelivered": "3s"}).start()
    eventually(till.loaded)
    said = {"identifier": PHONE, "cashier_id": "kassa-Xylofia"}
    assert till.sell("s-1", **said).status_code == 202
    eventually(lambda: till.delivered("s-1"))
    vendor.cut()
    assert till.sell("s-2", **said).status_code == 202
    eventually(lambda: till.transaction("s-2")["state"] == "parked")
    eventually(lambda: left_in(till.state, OF_ZAPHIRA) == {})
    assert till.transaction("s-1")["state"] == "delivered"
    assert till.transaction("s-2")["deliveries"][0]["last_error"]["code"] == "retention.expired"
    assert till.logged("purged") == []


@FEW
@pytest.mark.parametrize(("encryption", "standing"), [("off", {"storage.unencrypted"}), ("on", set())])
def test_a_readable_disk_is_told_and_no_disturbance(vendor, open_till, encryption, standing):
    """Whoever turns encryption off is told so for as long as it is; the agent is online all the same."""
    till = open_till(storage={"encryption": encryption}).start()
    eventually(lambda: till.loaded() and till.status()["state"] == "online")
    assert till.conditions() == standing
