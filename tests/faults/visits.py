"""A made-up person goes down the paths beside a sale: joins at the till, uses benefits up, systems hear of her."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from e2e.further import System, now
from e2e.shop import Till, Vendor, eventually
from e2e.traces import NUMBER, SAID, YLVALI, left_in
from faults.journey import NAME, PHONE, Journey, spoilt

from agent.connectors.mparticle.simulator import Fault as FeedFault
from agent.connectors.voyado.simulator import Fault

BRAMSELIA: dict[str, Any] = {  # joins without the line
    "first_name": "Bramselia",
    "last_name": "Vindskupa",
    "mobile_phone": "070-174 06 95",
    "email": "bramselia.vindskupa@example.com",
    "street": "Rimfrostbacken 3",
    "attributes": {"shoeSize": "Storlek-fyrtioett"},
}
ODVINDA: dict[str, Any] = {  # is refused once the till has gone on with them
    "first_name": "Odvinda",
    "mobile_phone": "070-174 06 93",
    "email": "odvinda@example.com",
    "street": "Tjurbensgapet 12",
    "birth_date": "1933-09-04",
}
QVINTILLA: dict[str, Any] = {  # is refused at once, and joins while the vendor has errors of its own
    "first_name": "Qvintilla",
    "mobile_phone": "070-174 06 94",
    "email": "qvintilla@example.com",
    "street": "Skogsnuvegränd 9",
}
NOTE = "lämnad-hos-Grannfridolf"
"""What an order screen says of a delivery of hers."""
OF_BRAMSELIA = ("bramselia", "vindskupa", "701740695", "070-174 06 95", "rimfrostbacken", "storlek-fyrtioett")
OF_ODVINDA = ("odvinda", "701740693", "070-174 06 93", "tjurbensgapet", "1933-09-04")
OF_QVINTILLA = ("qvintilla", "701740694", "070-174 06 94", "skogsnuvegränd")
OF_NOTE = ("grannfridolf",)
OF_VISITORS = OF_BRAMSELIA + OF_ODVINDA + OF_QVINTILLA + OF_NOTE
_REDEEMS = "*redeem*"


class Visits(Journey):
    """What she and others do beside buying.

    Args:
        feed: a system that is told of sales and activities.

    Attributes:
        own: the numbers of this till's own series that were given.
    """

    def __init__(
        self, vendor: Vendor, till: Till, contact_id: str, feed: System, wrapper: tuple[str, ...] = ()
    ) -> None:
        super().__init__(vendor, till, contact_id, wrapper)
        self.feed = feed
        self.own: list[str] = []
        self._wrapped = wrapper

    def steps(self) -> Iterator[Any]:
        """Every path, in an order in which each can be gone."""
        yield from (
            self.joins, self.joins_badly, self.is_refused_at_once, self.uses_up, self.asks_what_it_earns,
            self.is_told_of, self.joins_without_a_line, self.is_refused_later, self.is_told_about,
        )  # fmt: skip

    def joins(self) -> None:
        """With the vendor there, twice, and is shown."""
        made = self._joins(YLVALI, "delivered")
        again = self._joins(YLVALI, "delivered")
        assert made["ref"] == again["ref"]
        shown = self.till.http.get(f"/v1/contacts/{made['ref']}")
        assert shown.status_code == 200
        self.said.append(str(shown.headers))
        for kind, value in (("email", YLVALI["email"]), ("personal_number", YLVALI["personal_number"])):
            assert self.till.identify(kind, value)["contact"]["ref"] == made["ref"]

    def joins_badly(self) -> None:
        """With a name in every field, and under every name that is no field's."""
        bodies = list(spoilt(YLVALI))
        assert len(bodies) > 20
        for body in bodies:
            self._refused(self.till.http.post("/v1/contacts", json=body))
        for wrong in ({"mobile_phone": "070-174 06 99 77 66 55"}, {"email": NAME}, {"personal_number": "310314-2381"}):
            self._refused(self.till.http.post("/v1/contacts", json={**QVINTILLA, **wrong}), 422)
        self._refused(self.till.http.get(f"/v1/contacts/{YLVALI['email']}"), 404)

    def is_refused_at_once(self) -> None:
        """By a vendor that repeats in its errors what it was asked; and joins with one that has errors of its own."""
        faults, as_json = self.vendor.sim.faults, QVINTILLA
        for status in (400, 422):
            faults.add(Fault(kind="answer", path="*/contacts", method="POST", status=status, body="echo"))
            self._refused(self.till.http.post("/v1/contacts", json=as_json), 422)
            faults.clear()
        for how in ({"status": 409, "body": "echo"}, {"status": 500, "body": "echo"}, {"status": 500, "body": "html"}):
            faults.add(Fault(kind="answer", path="*/contacts", method="POST", count=1, **how))
            self._joins(QVINTILLA)
            faults.clear()
        self.till.order("flush")
        eventually(lambda: self._joins(QVINTILLA)["state"] == "delivered")

    def uses_up(self) -> None:
        """Named by phone, by mail address and by number: used up, asked for again, refused, given back, lost."""
        till, vendor, faults = self.till, self.vendor, self.vendor.sim.faults
        with vendor.sim.lock:
            vouchers = [vendor.sim.rewards.issue_voucher(self.contact_id, name=f"For {NAME}") for _ in range(4)]
            vouchers[0].check_number = "7700112233445"
            offer = {"name": f"To {NAME}", "id": "erbjudande-4711", "promotionId": "erbjudande-4711"}
            vendor.sim.rewards.assign_promotion(self.contact_id, offer)
        ways = (("mobile_phone", PHONE["value"]), ("email", "zaphira.kvistgren@example.com"), ("member_number", NUMBER))
        for place, (kind, value) in enumerate(ways):
            ref = till.identify(kind, value)["contact"]["ref"]
            assert till.http.get(f"/v1/contacts/{ref}/benefits").status_code == 200
            wish = {"ref": ref, "kind": "voucher", "id": vouchers[place].voucher_id, "transaction_id": f"use-{place}"}
            how = ({"status": 422, "body": "echo"}, {"status": 409, "body": "echo"}, {"status": 500, "body": "echo"})
            fault = faults.add(Fault(kind="answer", path=_REDEEMS, count=1, **how[place]))
            self._redeemed(wish)
            faults.remove(fault)
            eventually(lambda wish=wish: self._redeemed(wish)["outcome"] == "redeemed")
        self._redeemed({**wish, "transaction_id": "use-again"})
        released = till.http.post("/v1/benefits/release", json=wish)
        assert released.status_code == 200
        self._redeemed({**wish, "kind": "offer", "id": "erbjudande-4711", "transaction_id": "use-offer"})
        self.said += [released.text, str(released.headers)]
        fault = faults.add(Fault(kind="drop", path=_REDEEMS, after_processing=True))
        self._redeemed({**wish, "id": vouchers[3].voucher_id, "transaction_id": "use-lost"})
        faults.remove(fault)
        for body in spoilt({**wish, "amount": "20.00"}):
            self._refused(till.http.post("/v1/benefits/redeem", json=body))

    def asks_what_it_earns(self) -> None:
        """By each way of naming her, and with her name where none belongs."""
        line = {"kind": "purchase", "sku": "SK-77", "quantity": "1", "gross_paid": "250.00"}
        body: dict[str, Any] = {"currency": "SEK", "lines": [line]}
        key = {"kind": "primary", "type": "member_number", "value": NUMBER}
        for named in ({"identifier": PHONE}, {"integration_key": key}, {"new_contact": QVINTILLA}, SAID):
            answer = self.till.http.post("/v1/points/preview", json={**body, **named})
            assert answer.status_code == 200, answer.text
            self.said += [answer.text, str(answer.headers)]
        for bad in spoilt({**body, "identifier": PHONE, "new_contact": QVINTILLA}):
            self._refused(self.till.http.post("/v1/points/preview", json=bad))

    def is_told_of(self) -> None:
        """An order of hers is on its way: told, told again, refused with her words, and of somebody unknown."""
        sim = self.feed.sim
        assert self._told("act-1").status_code == 202
        eventually(lambda: sim.held().get("act-1"))
        self.said.append(self._told("act-1", identifier={"type": "email", "value": "nobody@example.com"}).text)
        fault = sim.add(FeedFault(kind="answer", path="*events", status=400, body="echo"))
        assert self._told("act-2").status_code == 202
        eventually(lambda: "act-2" in {row["activity_id"] for row in self.till.queue("parked")})
        sim.remove(fault)
        assert self._told("act-3", identifier={"type": "mobile_phone", "value": QVINTILLA["mobile_phone"]}).is_success
        whole = {"activity_id": "bad", "type": "delivery_order_picked_up", "occurred_at": now(), "identifier": PHONE,
                 "order_id": "4711", "attributes": {"note": NOTE}}  # fmt: skip
        for number, body in enumerate(spoilt(whole)):
            if isinstance(body["activity_id"], str):
                body["activity_id"] = f"bad-{number}"
            self._refused(self.till.http.post("/v1/activities", json=body))
        (entry,) = [row["entry"] for row in self.till.queue("parked") if row["activity_id"] == "act-2"]
        shown = self.till.command("queue", "show", str(entry))
        self.said += [shown.stdout, shown.stderr]

    def joins_without_a_line(self) -> None:
        """And buys and is told of under the number of this till's own; all are killed before anybody hears of it."""
        till = self.till
        self.vendor.cut()
        self.feed.cut()
        eventually(lambda: till.status()["state"] == "offline")
        key = self._joins(BRAMSELIA, "queued")["integration_key"]
        self.own.append(key["value"])
        by_phone = {"type": "mobile_phone", "value": BRAMSELIA["mobile_phone"]}
        assert till.sell("own-1", integration_key=key).status_code == 202
        assert till.sell("own-2", identifier=by_phone, new_contact=None).status_code == 202
        assert self._told("act-4", identifier=by_phone).status_code == 202
        self._joins({**BRAMSELIA, "street": "Rimfrostbacken 4"}, "queued")
        found = till.identify("external_id", key["value"])
        assert found["contact"]["first_name"] == "Bramselia"
        self.waiting = set().union(*left_in(till.state, OF_BRAMSELIA + OF_NOTE).values())
        till.kill()
        till.start(wrapper=self._wrapped)
        self.vendor.mend()
        self.feed.mend()
        till.order("flush")
        eventually(lambda: till.delivered("own-1") and till.delivered("own-2"))
        eventually(lambda: self.feed.sim.held().get("act-4"))

    def is_refused_later(self) -> None:
        """By a vendor that repeats all of it: parked, with the sale under their number, through a kill."""
        till, faults = self.till, self.vendor.sim.faults
        self.vendor.cut()
        eventually(lambda: till.status()["state"] == "offline")
        key = self._joins(ODVINDA, "queued")["integration_key"]
        self.own.append(key["value"])
        assert till.sell("own-3", integration_key=key).status_code == 202
        fault = faults.add(Fault(kind="answer", path="*/contacts", method="POST", status=422, body="echo"))
        self.vendor.mend()
        eventually(lambda: "contacts.parked" in till.conditions())
        eventually(lambda: till.transaction("own-3")["deliveries"][0]["state"] == "parked")
        till.kill()
        till.start(wrapper=self._wrapped)
        eventually(lambda: "contacts.parked" in till.conditions())
        faults.remove(fault)
        get = till.http.get
        self.said += [get(path).text for path in ("/v1/status", "/metrics", "/v1/queue", "/v1/transactions/own-3")]

    def _joins(self, who: dict[str, Any], state: str | None = None) -> dict[str, Any]:
        answer = self.till.http.post("/v1/contacts", json=who)
        assert answer.status_code in (200, 202), answer.text
        body: dict[str, Any] = answer.json()
        assert state in (None, body["state"]), body["state"]
        self.said.append(str(answer.headers))
        return body

    def _told(self, name: str, **changes: Any) -> Any:
        body = {"activity_id": name, "type": "delivery_order_picked_up", "occurred_at": now(), "identifier": PHONE,
                "order_id": "4711", "attributes": {"note": NOTE}, **changes}  # fmt: skip
        return self.till.http.post("/v1/activities", json={key: value for key, value in body.items() if value})
