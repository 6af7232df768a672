"""A made-up person goes down every path there is, with a till, a vendor and an administrator that get things wrong."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from e2e.shop import Till, Vendor, eventually, sale
from e2e.traces import EVERYBODY, NUMBER, SAID, YLVALI, left_in

from agent.connectors.voyado.simulator import Fault
from agent.connectors.voyado.simulator.settings import EXPORT_FIELDS

TENANT = {"members": 5, "export_fields": (*EXPORT_FIELDS, "socialSecurityNumber", "externalId", "cardId", "birthDay")}
BARE = ("/usr/bin/env", "PATH=/nowhere")
"""Without a compiler, with which Python looks for libraries, and whose temporary files it would be hard to tell."""
PROBE = re.compile(r"[a-z0-9_]{8}|pymp-.*|loyalty-agent-doctor-.*")
"""What Python itself makes: a file of four letters, to see whether it may, and empty directories. And doctor's spool,
to which nothing is downloaded."""
KEPT = {"contents": "contacts", "fields": ["first_name", "last_name", "street", "mobile_phone", "email"]}

NAME = "Zaphira Kvistgren"
PHONE = {"type": "mobile_phone", "value": "070-174 06 99"}
LINES = [{"kind": "return", "sku": "SK-77", "quantity": "-1", "gross_paid": "250.00"}]
GIVEN_BACK = {"lines": LINES, "payments": [{"type": "card", "amount": "-250.00"}], "total": "-250.00"}
GOODS = {"sku", "article_number", "name", "plu_class", "type", "description"}
"""Texts of a line: they name goods, and what a till writes into them is kept as such."""


class Journey:
    """What she does, path by path.

    Attributes:
        said: everything that was answered where no personal value belongs.
        waiting: what the byte search finds while sales wait for the line.
    """

    def __init__(self, vendor: Vendor, till: Till, contact_id: str, wrapper: tuple[str, ...] = ()) -> None:
        self.vendor, self.till, self.contact_id, self._wrapper = vendor, till, contact_id, wrapper
        self.said: list[str] = []
        self.waiting: set[str] = set()

    def steps(self) -> Iterator[Any]:
        """Every path, in an order in which each can be gone."""
        yield from (
            self.is_looked_up, self.is_looked_up_badly, self.has_benefits, self.buys, self.buys_badly,
            self.buys_without_a_line, self.is_refused_by_the_vendor, self.is_echoed_by_the_vendor, self.gives_back,
            self.is_given_up, self.is_told_about, self.comes_in_damaged_files,
        )  # fmt: skip

    def is_looked_up(self) -> None:
        """By each identifier, while the vendor answers and while it does not."""
        ways = [
            ("mobile_phone", "070-174 06 99"), ("email", "Zaphira.Kvistgren@example.com"), ("member_number", NUMBER),
            ("contact_id", self.contact_id.upper()), ("external_id", "yttre-zaph-7"), ("card_number", "KORT 99Z77"),
            ("personal_number", "310314-2380"), ("any", "0701740699"), ("any", "19310314-2380"),
        ]  # fmt: skip
        for _ in range(2):
            for kind, value in ways:
                assert self.till.identify(kind, value)["outcome"] == "matched", kind
            self.till.identify("mobile_phone", "070-174 06 97")
            self.till.identify("any", "pippin.nobody@example.com")
            self.vendor.cut()
            eventually(lambda: self.till.status()["state"] == "offline")
        self.vendor.mend()
        eventually(lambda: self.till.status()["state"] == "online")

    def is_looked_up_badly(self) -> None:
        """In bodies, paths, queries and headers where nobody belongs."""
        http, who = self.till.http, {"identifier": PHONE}
        as_json = {"content-type": "application/json"}
        for answer in (
            self.till.ask("mobile_phone", f"{NAME} 070-174 06 99 77 66 55"),
            self.till.ask("email", "zaphira.kvistgren"),
            self.till.ask("personal_number", "310314-2381"),
            self.till.ask(NAME, "070-174 06 99"),
            http.post("/v1/contacts/identify", json={"identifier": {"070-174 06 99": NAME}}),
            http.post("/v1/contacts/identify", json={**who, NAME: 1}),
            http.post("/v1/contacts/identify", content=f'{{"{NAME}": 070-174 06 99'.encode(), headers=as_json),
            http.post("/v1/contacts/identify", content=json.dumps(who), headers={"content-type": NAME}),
            http.post("/v1/contacts/identify", json=who, headers={"authorization": f"Bearer {NAME}"}),
            http.post("/v1/contacts/identify", json=who, headers={"origin": f"https://{NAME}"}),
            http.post("/v1/contacts/identify", json=who, headers={"host": "zaphira.example.com"}),
            http.get("/v1/contacts/+46701740699"),
            http.get("/v1/transactions/+46701740699"),
            http.get("/v1/transactions/zaphira.kvistgren@example.com/story"),
            http.get("/zaphira/kvistgren"),
            http.get("/v1/status", params={NAME: "070-174 06 99"}),
            http.get("/v1/queue", params={"state": NAME, "vendor": "zaphira.kvistgren@example.com"}),
            http.post("/v1/queue/+46701740699/discard", json={"reason": NAME}),
            http.post("/v1/privacy/erase", json={"identifier": {"type": "email", "value": NAME}}),
            http.post("/v1/privacy/export", json={"identifier": {"type": NAME, "value": "070-174 06 99"}}),
            http.post("/v1/flush", json={NAME: NAME}),
        ):
            self._refused(answer)

    def has_benefits(self) -> None:
        """An offer and a voucher of hers: asked for live, remembered, and by handles and vendors that do not fit."""
        vendor, till, http = self.vendor, self.till, self.till.http
        with vendor.sim.lock:
            offer = {"name": f"To {NAME}", "id": "erbjudande-4711", "promotionId": "erbjudande-4711"}
            vendor.sim.rewards.assign_promotion(self.contact_id, offer)
            voucher = vendor.sim.rewards.issue_voucher(self.contact_id, name=f"For {NAME}")
            voucher.check_number = "7700112233445"
        path = f"/v1/contacts/{till.identify('mobile_phone', '070-174 06 99')['contact']['ref']}/benefits"
        eventually(lambda: NAME in http.get(path).text)
        for kind, body in (("answer", "echo"), ("answer", "html"), ("drop", "error")):
            fault = vendor.sim.faults.add(Fault(kind=kind, path="*promotions", status=422, body=body))
            remembered = http.get(path).json()
            assert remembered["served"]["source"] == "replica"
            assert NAME in remembered["offers"][0]["name"]
            vendor.sim.faults.remove(fault)
            eventually(lambda: http.get(path).json()["served"]["source"] == "live")
        known = till.identify("member_number", NUMBER)["contact"]["ref"]
        wish = {"ref": known, "kind": "offer", "id": "erbjudande-4711", "transaction_id": "on-1"}
        fault = vendor.sim.faults.add(Fault(kind="answer", path="*redeem", status=422, body="echo"))
        eventually(lambda: self._redeemed(wish)["reason"] == "refused")
        vendor.sim.faults.remove(fault)
        eventually(lambda: self._redeemed(wish)["outcome"] == "redeemed")
        self._redeemed({**wish, "kind": "voucher", "id": voucher.voucher_id, "transaction_id": "on-2"})
        self._refused(http.post("/v1/benefits/redeem", json={**wish, "id": NAME, NAME: NAME}))
        self._refused(http.post("/v1/benefits/release", json={"kind": NAME, "transaction_id": "zaphira kvistgren"}))
        for ref in ("+46701740699", "zaphira.kvistgren@example.com", "erbjudande-4711"):
            self._refused(http.get(f"/v1/contacts/{ref}/benefits"), 404)

    def buys(self) -> None:
        """With everything that a sale may hold, and the vendor there."""
        till = self.till
        assert till.sell("on-1", identifier=PHONE, **SAID).status_code == 202
        eventually(lambda: till.delivered("on-1"))
        self._refused(till.sell("on-1", identifier=PHONE, **{**SAID, "cashier_id": NAME}), 409)
        assert till.sell("on-2", new_contact=YLVALI).status_code == 202
        eventually(lambda: till.delivered("on-2"))
        assert till.sell("cash-1", cashier_id="kassa-Xylofia").status_code == 202
        claimed = till.sell("claim-1", type="points_claim", original_transaction_id="cash-1", identifier=PHONE)
        assert claimed.status_code == 202

    def buys_badly(self) -> None:
        """With her name in every field of a sale, and under every name that is no field's."""
        rich = sale("bad", identifier=PHONE, new_contact=YLVALI, **SAID, original_transaction_id="on-1")
        for number, body in enumerate(spoilt(rich)):
            if isinstance(body["transaction_id"], str):
                body["transaction_id"] = f"bad-{number}"
            self._refused(self.till.http.post("/v1/transactions", json=body))
        assert number > 60

    def buys_without_a_line(self) -> None:
        """As a member, as somebody whom nobody knows, and as somebody who becomes a member; one is voided."""
        till, number = self.till, {"kind": "primary", "type": "member_number", "value": NUMBER}
        self.vendor.cut()
        eventually(lambda: till.status()["state"] == "offline")
        nobody = {"type": "mobile_phone", "value": "+46701740697"}
        assert till.sell("off-1", identifier=PHONE, **SAID).status_code == 202
        assert till.sell("off-2", identifier=nobody).status_code == 202
        assert till.sell("off-3", new_contact={**YLVALI, "email": "pippin.nobody@example.com"}).status_code == 202
        assert till.sell("off-4", integration_key=number).status_code == 202
        assert till.void("void-4", "off-4").status_code == 202
        self.waiting = set().union(*left_in(till.state, EVERYBODY).values())
        till.kill()  # in the middle of everything
        till.start(wrapper=self._wrapper)
        self.vendor.mend()
        eventually(till.drained)

    def is_refused_by_the_vendor(self) -> None:
        """Her key is refused, her line is cut in the middle of an answer, the vendor has an error of its own."""
        till, faults = self.till, self.vendor.sim.faults
        for number, how in enumerate(
            ({"kind": "answer", "status": 401}, {"kind": "answer", "status": 500, "body": "html"}, {"kind": "drop"})
        ):
            fault = faults.add(Fault(path="*receipts*", count=1, **how))
            assert till.sell(f"no-{number}", identifier=PHONE, cashier_id="kassa-Xylofia").status_code == 202
            eventually(lambda fault=fault: not fault.count)
            self.till.order("flush")
            eventually(till.drained)
            faults.remove(fault)

    def is_echoed_by_the_vendor(self) -> None:
        """A vendor that repeats what it was asked in its errors: in look-ups, receipts and new contacts."""
        till, faults = self.till, self.vendor.sim.faults
        for status in (400, 404, 409, 422, 500):
            faults.add(Fault(kind="answer", path="*contacts*", status=status, body="echo"))
            till.ask("email", "pippin.nobody@example.com")
            till.ask("mobile_phone", "070-174 06 97")
            faults.clear()
        for status in (400, 409, 422):
            faults.add(Fault(kind="answer", path="*receipts*", method="POST", status=status, body="echo"))
            assert till.sell(f"echo-{status}", identifier=PHONE, **SAID).status_code == 202
            eventually(lambda status=status: till.transaction(f"echo-{status}")["state"] in ("parked", "delivered"))
            faults.clear()
        faults.add(Fault(kind="answer", path="*/contacts", method="POST", status=422, body="echo"))
        contact = {"first_name": "Ylvali", "mobile_phone": "070-174 06 97", "street": "Fjärdhaltsstigen 5"}
        assert till.sell("echo-new", new_contact=contact).status_code == 202
        eventually(lambda: till.transaction("echo-new")["state"] == "parked")
        faults.clear()

    def gives_back(self) -> None:
        """A return with and without its receipt, and a void of what was delivered."""
        till = self.till
        assert till.sell("back-1", type="return", original_transaction_id="on-1", **GIVEN_BACK).is_success
        assert till.sell("back-2", type="return", identifier=PHONE, **GIVEN_BACK).is_success
        assert till.void("void-1", "off-1").is_success
        eventually(till.drained)

    def is_given_up(self) -> None:
        """An administrator's reason names somebody."""
        till = self.till
        for entry in till.queue("parked"):
            answer = till.http.post(f"/v1/queue/{entry['entry']}/discard", json={"reason": f"Qvintilla and {NAME}"})
            assert answer.status_code == 202
            self.said.append(answer.text)

    def is_told_about(self) -> None:
        """Everything that the door and the commands say."""
        get, say = self.till.http.get, self.till.command
        paths = [
            "/metrics",
            "/v1/status",
            "/page/status",
            "/v1/queue",
            "/v1/history",
            "/admin",
            "/openapi.json",
            "/docs",
            "/",
            "/healthz",
        ]
        names = ("on-1", "on-2", "off-3", "no-1", "echo-422", "echo-new", "void-1")
        paths += [f"/v1/transactions/{name}{end}" for name in names for end in ("", "/story")]
        self.said += [get(path).text for path in paths]
        commands = [
            ("status",), ("queue", "list"), ("explain", "on-1"), ("explain", "echo-new"), ("token", "list"),
            ("audit", "verify"), ("config", "show"), ("config", "check"), ("doctor", "--online"),
            ("support-bundle", "--show"),
        ]  # fmt: skip
        for command in commands:
            for form in ((), ("--json",)):
                done = say(*command, *form)
                self.said += [done.stdout, done.stderr]

    def comes_in_damaged_files(self) -> None:
        """The feed brings her in files that are cut short, wrongly encoded, and whole."""
        till, vendor = self.till, self.vendor
        for fault in ("truncated", "wrong_encoding"):
            vendor.sim.faults.spoil_next_export(fault)
            self._changes()
            till.order("sync")
            eventually(lambda: "feed.unreadable" in till.conditions())
            self.said.append(till.http.get("/v1/status").text)
            vendor.sim.exports.repair()
            till.sync()
            eventually(lambda: "feed.unreadable" not in till.conditions())

    def _redeemed(self, wish: dict[str, Any]) -> dict[str, Any]:
        answer = self.till.http.post("/v1/benefits/redeem", json=wish)
        self.said.append(answer.text + str(answer.headers))
        return answer.json()

    def _changes(self) -> None:
        state = self.vendor.sim.state
        with self.vendor.sim.lock:
            for contact in (state.live(self.contact_id), *state.find("mobilePhone", "+46701740698")):
                state.touch(contact, ["street"])
        self.vendor.sim.export_now()

    def _refused(self, answer: Any, status: int | None = None) -> None:
        assert answer.status_code == status or (status is None and answer.status_code >= 400), answer.text
        self.said.append(answer.text + str(answer.headers))


def spoilt(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The body with her name in place of each value, and beside each, under her name."""
    for *way, last in _places(body):
        spoilt = copy.deepcopy(body)
        parent = _at(spoilt, way)
        if last not in GOODS:
            parent[last] = {NAME: NAME} if isinstance(parent[last], str) else NAME
            yield spoilt
        if isinstance(parent, dict) and way[-1:] != ["attributes"]:  # which may have any name
            spoilt = copy.deepcopy(body)
            _at(spoilt, way)[NAME] = {last: NAME}
            yield spoilt


def _at(value: Any, way: list[Any]) -> Any:
    for step in way:
        value = value[step]
    return value


def _places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*way, key)
        yield from _places(inner, (*way, key))


def everything_said(journey: Any) -> bytes:
    """Logs, answers, metrics, problems and what commands printed."""
    return "\n".join([journey.till.log.read_text(), *journey.said]).encode()
