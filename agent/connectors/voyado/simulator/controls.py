"""`/_sim`: what a person or a test does to the tenant from outside. No key is asked for; it is for loopback only.

A control that is wrongly worded answers 400 with what is wrong, and changes nothing.
"""

from dataclasses import asdict, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from agent.connectors.simulation.answers import Handler, answer
from agent.connectors.voyado.simulator import contacts, views
from agent.connectors.voyado.simulator.answers import parse
from agent.connectors.voyado.simulator.faults import Fault, check_file_fault
from agent.connectors.voyado.simulator.keys import ApiKey
from agent.connectors.voyado.simulator.receipts import Posted
from agent.connectors.voyado.simulator.records import Contact
from agent.connectors.voyado.simulator.refusal import Refusal
from agent.connectors.voyado.simulator.settings import SimulatorSettings

if TYPE_CHECKING:
    from agent.connectors.voyado.simulator.tenant import VoyadoSimulator

_MARKS = {"upper_case_guids": bool, "trailing_blanks": bool, "clock_skew_s": float}


def control_routes(simulator: "VoyadoSimulator") -> list[tuple[str, str, Handler]]:
    """Method, name below `/_sim/` and function of each."""
    controls = _Controls(simulator)
    return [
        ("GET", "state", controls.show_state),
        ("GET", "receipts", controls.show_receipts),
        ("GET", "log", controls.show_log),
        ("GET", "faults", controls.show_faults),
        ("POST", "faults", controls.set_faults),
        ("POST", "keys", controls.set_keys),
        ("POST", "contacts", controls.add_contacts),
        ("POST", "restore", controls.restore),
        ("POST", "promotions", controls.assign_promotion),
        ("POST", "vouchers", controls.issue_voucher),
        ("POST", "advance", controls.advance),
        ("POST", "import", controls.import_receipts),
        ("POST", "export", controls.export),
        ("GET", "settings", controls.show_settings),
        ("POST", "settings", controls.set_settings),
        ("POST", "reset", controls.reset),
    ]


class _Controls:
    def __init__(self, simulator: "VoyadoSimulator") -> None:
        self._simulator = simulator

    # Showing

    def show_state(self, _request: Request, _body: bytes) -> Response:
        simulator, state = self._simulator, self._simulator.state
        live = [contact for contact in state.contacts.values() if contact.deleted_at is None]
        types = {name: sum(1 for one in live if one.contact_type == name) for name in state.settings.contact_types}
        return answer(
            {
                "now": simulator.clock.now().isoformat(),
                "contacts": {**types, "deleted": len(state.contacts) - len(live)},
                "pendingExport": len(state.pending),
                "receipts": asdict(simulator.counts()),
                "stores": sorted(state.stores),
                "keys": [
                    {"name": key.name, "requests": key.requests, "warned": key.warned, "limited": key.limited}
                    for key in state.keys.values()
                ],
                "logLines": len(state.log),
            },
        )

    def show_receipts(self, _request: Request, _body: bytes) -> Response:
        posts: dict[str, list[Posted]] = {}
        for posted in self._simulator.receipts.received:
            posts.setdefault(posted.receipt_id, []).append(posted)
        return answer([self._describe(receipt_id, attempts) for receipt_id, attempts in posts.items()])

    def show_log(self, _request: Request, _body: bytes) -> Response:
        log = self._simulator.state.log
        return answer([{"at": line.at.isoformat(), "event": line.event, "reference": line.reference} for line in log])

    def show_faults(self, _request: Request, _body: bytes) -> Response:
        return answer(self._simulator.faults.describe())

    def show_settings(self, _request: Request, _body: bytes) -> Response:
        settings = self._simulator.settings
        shown = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name != "api_keys"}
        return answer({**shown, "root": str(settings.root)})

    # Acting

    def set_faults(self, _request: Request, body: bytes) -> Response:
        wanted = _members(body, {"clear", "add", "files", *_MARKS})
        faults = self._simulator.faults
        try:
            rules = [Fault(**members) for members in wanted.get("add", [])]
            files = {check_file_fault(name): int(runs) for name, runs in wanted.get("files", {}).items()}
            marks = {name: make(wanted[name]) for name, make in _MARKS.items() if name in wanted}
        except (TypeError, ValueError, AttributeError) as error:
            raise _wrong(str(error)) from error
        if wanted.get("clear"):
            faults.clear()
        for rule in rules:
            faults.add(rule)
        for file_fault, runs in files.items():
            faults.spoil_next_export(file_fault, runs)
        for mark, value in marks.items():
            setattr(faults, mark, value)
        return answer(faults.describe())

    def set_keys(self, _request: Request, body: bytes) -> Response:
        wanted = _members(body, {"add", "revoke", "addresses", "name"})
        addresses = wanted.pop("addresses", [])
        if not isinstance(addresses, list) or not all(isinstance(text, str) for text in (*addresses, *wanted.values())):
            raise _wrong("add, revoke and name are texts, addresses a list of them")
        state = self._simulator.state
        state.keys.pop(wanted.get("revoke", ""), None)
        if key := wanted.get("add"):
            name = wanted.get("name", f"key-{len(state.keys) + 1}")
            state.keys[key] = ApiKey(name=name, addresses=frozenset(addresses))
        return answer({"keys": [key.name for key in state.keys.values()]})

    def add_contacts(self, _request: Request, body: bytes) -> Response:
        wanted = _object(body)
        store = wanted.pop("storeExternalId", None)
        if store is not None and not isinstance(store, str):
            raise _wrong("storeExternalId: a text")
        if "seed" in wanted:
            self._simulator.seed(_whole_number(wanted["seed"], "seed"))
            return answer({"contacts": len(self._simulator.state.contacts)}, 201)
        draft = contacts.begin_create(
            self._simulator.state,
            wanted,
            source="simulator",
            store=store,
            approved=True,
        )
        contact = draft if isinstance(draft, Contact) else contacts.finish_create(self._simulator.state, draft)
        return answer(views.contact(contact, self._simulator.state, self._simulator.faults), 201)

    def restore(self, _request: Request, body: bytes) -> Response:
        contact = self._simulator.state.restore(str(_members(body, {"contactId"}).get("contactId", "")).lower())
        if contact is None:
            raise Refusal(404, "ContactNotFound")
        return answer(views.contact(contact, self._simulator.state, self._simulator.faults))

    def assign_promotion(self, _request: Request, body: bytes) -> Response:
        wanted = _object(body)
        found = self._simulator.state.find("contactId", str(wanted.pop("contactId", "")))
        return answer(self._simulator.rewards.assign_promotion(contacts.only(found).contact_id, wanted), 201)

    def issue_voucher(self, _request: Request, body: bytes) -> Response:
        wanted = _members(body, {"contactId", "amount", "name", "expiresOn"})
        found = self._simulator.state.find("contactId", str(wanted.get("contactId", "")))
        amount, ends = wanted.get("amount"), wanted.get("expiresOn")
        if amount is not None and (not isinstance(amount, (int, float)) or isinstance(amount, bool) or amount < 0):
            raise _wrong("amount: a number from 0")
        try:
            expires_at = datetime.fromisoformat(ends) if ends is not None else None
        except (TypeError, ValueError):
            raise _wrong("expiresOn: an instant with its offset") from None
        if expires_at is not None and expires_at.tzinfo is None:
            raise _wrong("expiresOn: an instant with its offset")
        voucher = self._simulator.rewards.issue_voucher(
            contacts.only(found).contact_id,
            amount=amount,
            name=str(wanted.get("name", "Bonus voucher")),
            expires_at=expires_at,
        )
        return answer(views.reward_voucher(voucher, self._simulator.state), 201)

    def advance(self, _request: Request, body: bytes) -> Response:
        seconds = _members(body, {"seconds"}).get("seconds")
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or seconds < 0:
            raise _wrong("seconds: a number from 0")
        self._simulator.advance(seconds)
        return answer({"now": self._simulator.clock.now().isoformat()})

    def import_receipts(self, _request: Request, _body: bytes) -> Response:
        self._simulator.import_receipts_now()
        return answer(asdict(self._simulator.counts()))

    def export(self, _request: Request, body: bytes) -> Response:
        wanted = _members(body, {"full", "repair"})
        if wanted.get("repair"):
            paths = self._simulator.exports.repair()
        else:
            paths = self._simulator.export_full() if wanted.get("full") else self._simulator.export_now()
        return answer({"files": [path.name for path in paths]})

    def set_settings(self, request: Request, body: bytes) -> Response:
        wanted = _members(body, {field.name for field in fields(SimulatorSettings)} - {"root"})
        try:
            self._simulator.configure(**{name: tuple(v) if isinstance(v, list) else v for name, v in wanted.items()})
        except ValueError as error:
            raise _wrong(str(error)) from error
        return self.show_settings(request, body)

    def reset(self, _request: Request, body: bytes) -> Response:
        wanted = _members(body, {"seed"})
        self._simulator.reset()
        self._simulator.seed(_whole_number(wanted.get("seed", 0), "seed"))
        return answer({"contacts": len(self._simulator.state.contacts)})

    # Words

    def _describe(self, receipt_id: str, attempts: list[Posted]) -> dict[str, Any]:
        decided = self._simulator.receipts.imported.get(receipt_id, attempts[-1])
        receipt = decided.receipt()
        return {
            "uniqueReceiptId": receipt_id,
            "posts": len(attempts),
            "outcome": decided.outcome,
            "contactId": decided.contact_id,
            "matchKey": decided.match_key,
            "matchKeyType": decided.match_key_type,
            "contactType": decided.contact_type,
            "storeExternalId": receipt["storeExternalId"],
            "createdDate": receipt["createdDate"],
            "totalGrossPrice": receipt["totalGrossPrice"],
            "currency": receipt["currency"],
            "receivedAt": attempts[0].received_at.isoformat(),
            "importedAt": decided.imported_at.isoformat() if decided.imported_at else None,
            "outcomes": [posted.outcome for posted in attempts],
        }


def _object(body: bytes) -> dict[str, Any]:
    members = parse(body) if body else {}
    if not isinstance(members, dict):
        raise _wrong("a JSON object is expected")
    return members


def _members(body: bytes, known: set[str]) -> dict[str, Any]:
    members = _object(body)
    if unknown := sorted(members.keys() - known):
        raise _wrong(f"unknown: {', '.join(unknown)}")
    return members


def _whole_number(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _wrong(f"{name}: a whole number from 0")
    return value


def _wrong(text: str) -> Refusal:
    return Refusal(400, "InvalidControl", validation=[text])
