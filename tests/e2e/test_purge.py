"""The end of personal data: a made-up person goes down every path, and no byte of them is left behind."""

from __future__ import annotations

import time

import pytest
from e2e.shop import eventually

from agent.connectors.voyado.simulator import Fault

pytestmark = pytest.mark.slow

ZAPHIRA = {  # a member
    "firstName": "Zaphira",
    "lastName": "Kvistgren",
    "mobilePhone": "+46701740699",
    "email": "zaphira.kvistgren@example.com",
    "street": "Mossbergsklinten 77",
    "birthDay": "1931-03-14",
}
YLVALI = {  # becomes one at the till
    "first_name": "Ylvali",
    "last_name": "Torpmark",
    "mobile_phone": "070-174 06 98",
    "email": "ylvali.torpmark@example.com",
    "street": "Fjärdhaltsstigen 5",
    "birth_date": "1932-08-23",
    "preferences": {"accepts_email": True},
    "consents": [
        {"id": "memberTerms", "value": True, "given_at": "2026-02-14T16:40:00+01:00", "place": "Kassa Ugglan"}
    ],
    "attributes": {"shoeSize": "Storlek-trettiosju"},
}
CANARIES = (
    *("zaphira", "kvistgren", "mossbergsklinten", "1931-03-14", "701740699", "070-174 06 99", "90817263"),
    *("ylvali", "torpmark", "fjärdhaltsstigen", "1932-08-23", "701740698", "070-174 06 98", "ugglan"),
    *("storlek-trettiosju", "701740697", "070-174 06 97", "pippin.nobody"),  # the last three: nobody's
    *("7700112233445", "erbjudande-4711", "kassa-xylofia", "kort-5566", "qvintilla"),
)


def found_in(content: bytes) -> set[str]:
    """The canaries in a run of bytes, whatever their case."""
    content = content.lower()
    return {canary for canary in CANARIES if canary.encode() in content}


def left_in(directory) -> dict[str, set[str]]:
    """The canaries in each file of a directory, its path included."""
    return {
        str(path): traces
        for path in directory.rglob("*")
        if path.is_file() and (traces := found_in(path.read_bytes() + str(path).encode()))
    }


class Journey:
    """Everything that can happen to a person at a till.

    Attributes:
        said: answers that may not repeat a personal value.
        waiting: what the byte search found while sales waited for the line.
    """

    def __init__(self, vendor, till) -> None:
        self.vendor, self.till, self.said, self.waiting = vendor, till, [], set()

    def problem(self, answer, status):
        assert answer.status_code == status, answer.text
        self.said.append(answer.text)

    def identify(self):
        till = self.till
        for kind, value in (
            ("mobile_phone", "070-174 06 99"),
            ("email", "Zaphira.Kvistgren@example.com"),
            ("member_number", "90817263"),
            ("any", "0701740699"),
        ):
            assert till.identify(kind, value)["outcome"] == "matched"
        assert till.identify("mobile_phone", "070-174 06 97")["outcome"] == "not_found"
        assert till.identify("any", "pippin.nobody@example.com")["outcome"] == "not_found"
        self.problem(till.ask("mobile_phone", "Zaphira 070-174 06 99 77 66 55"), 422)
        self.problem(till.ask("email", "zaphira.kvistgren"), 422)
        self.problem(till.http.post("/v1/contacts/identify", json={"identifier": {"070-174 06 99": "Zaphira"}}), 422)

    def buy_online(self):
        till = self.till
        rich = {
            "identifier": {"type": "mobile_phone", "value": "070-174 06 99"},
            "cashier_id": "kassa-Xylofia",
            "vouchers_used": [{"number": "7700112233445"}],
            "offers_used": [{"offer_id": "erbjudande-4711"}],
            "payments": [
                {"type": "card", "amount": "200.00", "reference": "kort-5566"},
                {"type": "voucher", "amount": "50.00", "reference": "7700112233445"},
            ],
        }
        assert till.sell("on-1", **rich).status_code == 202
        self.problem(till.sell("on-1", **{**rich, "cashier_id": "Zaphira"}), 409)
        self.problem(till.sell("on-2", identifier={"type": "email", "value": "Zaphira Kvistgren"}), 422)
        self.problem(till.sell("on-3", cashier_id={"kassa-Xylofia": 1}), 422)
        eventually(lambda: till.delivered("on-1"))

    def buy_offline(self):
        till, vendor = self.till, self.vendor
        vendor.cut()
        phone = {"type": "mobile_phone", "value": "+46701740699"}
        assert till.sell("off-1", identifier=phone, cashier_id="kassa-Xylofia").status_code == 202
        assert till.sell("off-2", identifier={"type": "mobile_phone", "value": "+46701740697"}).status_code == 202
        assert till.sell("off-3", new_contact=YLVALI).status_code == 202
        assert till.identify("email", "pippin.nobody@example.com")["outcome"] == "unknown"
        number = {"kind": "primary", "type": "member_number", "value": "90817263"}
        assert till.sell("off-4", integration_key=number).status_code == 202
        assert till.void("void-4", "off-4").status_code == 202
        self.waiting = set().union(*left_in(till.state).values())
        vendor.mend()
        eventually(till.drained)
        assert {"off-1", "off-3"} <= vendor.held().keys()

    def give_back(self):
        lines = [{"kind": "return", "sku": "SK-77", "quantity": "-1", "gross_paid": "250.00"}]
        till, back = (
            self.till,
            {"lines": lines, "payments": [{"type": "card", "amount": "-250.00"}], "total": "-250.00"},
        )
        phone = {"type": "mobile_phone", "value": "0701740699"}
        assert till.sell("back-1", type="return", original_transaction_id="on-1", identifier=phone, **back).is_success
        assert till.sell(
            "void-1", type="void", original_transaction_id="off-1", lines=[], payments=[], total="0"
        ).is_success
        eventually(till.drained)

    def give_up(self):
        till, vendor = self.till, self.vendor
        poison = vendor.sim.faults.add(Fault(kind="poison", receipt_id="bad-1"))
        assert till.sell("bad-1", identifier={"type": "email", "value": "zaphira.kvistgren@example.com"}).is_success
        (entry,) = eventually(lambda: till.queue("parked"))
        self.said.append(str(entry))
        given_up = till.http.post(f"/v1/queue/{entry['entry']}/discard", json={"reason": "Qvintilla asked for it"})
        assert given_up.status_code == 202
        vendor.sim.faults.remove(poison)

    def leave(self):
        till, vendor = self.till, self.vendor
        for phone in ("+46701740699", "+46701740698"):
            for contact in vendor.sim.state.find("mobilePhone", phone):
                vendor.delete(contact)
        vendor.sim.export_now()
        till.sync()
        assert till.identify("member_number", "90817263")["outcome"] == "not_found"

    def outputs(self) -> bytes:
        """Everything the agent says of itself."""
        get = self.till.http.get
        paths = ["/metrics", "/v1/status", "/page/status", "/v1/queue"]
        paths += [f"/v1/transactions/{name}{end}" for name in ("on-1", "off-3", "bad-1") for end in ("", "/story")]
        return "\n".join([self.till.log.read_text(), *(get(path).text for path in paths), *self.said]).encode()


def _open(vendor, open_till, encryption, feed):
    with vendor.sim.lock:
        vendor.sim.state.next_member_number = 90817263
    vendor.enrol(**ZAPHIRA)
    vendor.sim.export_now()
    till = open_till(
        storage={"encryption": encryption},
        replica={"contents": "contacts", "fields": ["first_name", "last_name", "street", "mobile_phone", "email"]},
        retention={"delivered": "1s", "undelivered": "1h"},
        voyado=feed,
        log={"level": "debug"},
    ).start()
    eventually(till.loaded)
    return till


@pytest.mark.parametrize("vendor", [5], indirect=True, ids=["few"])
@pytest.mark.parametrize("feed", ["folder", "sftp"])
def test_nothing_is_left_after_the_purge(vendor, open_till, feed, request):
    """Unencrypted: after the purge a byte search of state, log and answers finds nothing of anybody."""
    till = _open(vendor, open_till, "off", request.getfixturevalue("sftp") if feed == "sftp" else {})
    journey = Journey(vendor, till)
    journey.identify()
    journey.buy_online()
    assert {"zaphira", "mossbergsklinten"} <= set().union(*left_in(till.state).values())
    journey.buy_offline()
    assert {"ylvali", "701740697", "kassa-xylofia"} <= journey.waiting, "the search finds what is there"
    journey.give_back()
    journey.give_up()
    journey.leave()
    time.sleep(1.1)  # retention.delivered
    till.purge()

    assert left_in(till.state) == {}
    assert found_in(journey.outputs()) == set()
    assert till.transaction("on-1")["state"] == "delivered"
    assert till.http.get("/v1/transactions/on-1/story").json()["erased_at"]
    till.stop()
    assert left_in(till.state) == {}
    assert found_in(till.log.read_bytes()) == set()


@pytest.mark.parametrize("vendor", [5], indirect=True, ids=["few"])
def test_nothing_is_ever_readable_when_encrypted(vendor, open_till, sftp):
    """Encrypted: a byte search finds nothing at any time, before the purge as after it."""
    till = _open(vendor, open_till, "on", sftp)
    journey = Journey(vendor, till)
    steps = (
        journey.identify,
        journey.buy_online,
        journey.buy_offline,
        journey.give_back,
        journey.give_up,
        journey.leave,
    )
    for step in steps:
        step()
        assert left_in(till.state) == {}, step.__name__

    assert found_in(journey.outputs()) == set()


@pytest.mark.parametrize("vendor", [5], indirect=True, ids=["few"])
def test_a_sale_that_could_never_be_delivered(vendor, open_till):
    """After `retention.undelivered` the person is erased, the sale stays, parked, and a repeat is still recognised."""
    till = open_till(storage={"encryption": "off"}, retention={"delivered": "2s", "undelivered": "2s"}).start()
    eventually(till.loaded)
    vendor.cut()
    said = {"identifier": {"type": "mobile_phone", "value": "070-174 06 99"}, "cashier_id": "kassa-Xylofia"}
    assert till.sell("s-1", **said).status_code == 202
    till.purge()
    early = till.transaction("s-1")["state"]
    time.sleep(2.1)  # retention.undelivered
    till.purge()
    sold = till.transaction("s-1")
    repeat = till.sell("s-1", **said)

    assert early == "queued"
    assert sold["state"] == "parked"
    assert sold["deliveries"][0]["last_error"]["code"] == "retention.expired"
    assert "queue.parked" in till.conditions()
    assert left_in(till.state) == {}
    assert repeat.status_code == 200
    assert repeat.json()["integration_key"] == {"kind": "secondary", "type": "mobile_phone", "value": None}
    assert till.sell("s-1", **{**said, "total": "1"}).status_code in (409, 422)
    vendor.mend()
    till.order("flush")
    till.sell("s-2", identifier=said["identifier"])
    eventually(till.drained)
    assert vendor.posts() == {"s-2": 1}


@pytest.mark.parametrize("vendor", [5], indirect=True, ids=["few"])
def test_seconds_are_kept_to_without_an_order(vendor, open_till):
    """Nobody asks for a purge: what is delivered goes after its seconds, and so does what cannot be."""
    till = open_till(storage={"encryption": "off"}, retention={"delivered": "2s", "undelivered": "3s"}).start()
    eventually(till.loaded)
    said = {"identifier": {"type": "mobile_phone", "value": "070-174 06 99"}, "cashier_id": "kassa-Xylofia"}
    assert till.sell("s-1", **said).status_code == 202
    eventually(lambda: till.delivered("s-1"))
    vendor.cut()
    assert till.sell("s-2", **said).status_code == 202
    eventually(lambda: till.transaction("s-2")["state"] == "parked")
    eventually(lambda: left_in(till.state) == {})
    assert till.transaction("s-1")["state"] == "delivered"
    assert till.transaction("s-2")["deliveries"][0]["last_error"]["code"] == "retention.expired"
    assert till.logged("purged") == []


@pytest.mark.parametrize("vendor", [5], indirect=True, ids=["few"])
@pytest.mark.parametrize(("encryption", "standing"), [("off", {"storage.unencrypted"}), ("on", set())])
def test_a_readable_disk_is_told_and_no_disturbance(vendor, open_till, encryption, standing):
    """Whoever turns encryption off is told so for as long as it is; the agent is online all the same."""
    till = open_till(storage={"encryption": encryption}).start()
    eventually(lambda: till.loaded() and till.status()["state"] == "online")
    assert till.conditions() == standing
