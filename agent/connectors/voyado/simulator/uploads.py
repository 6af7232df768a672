"""Files that integrators upload: contacts and receipts as XML, taken up at the receipt interval and then removed.

What a file did shows only in the Integration log; no contact id is handed back.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from agent.connectors.voyado.simulator import contacts, values
from agent.connectors.voyado.simulator.receipts import ReceiptDesk
from agent.connectors.voyado.simulator.records import PREFERENCES, Contact
from agent.connectors.voyado.simulator.refusal import Refusal
from agent.connectors.voyado.simulator.state import State

_LISTS = {"paymentMethods", "items", "discounts", "taxDetails", "usedBonusChecks", "usedPromotions"}
_NUMBERS = {
    "totalGrossPrice",
    "exchangeRateToGroupCurrency",
    "value",
    "quantity",
    "grossPaidPrice",
    "taxAmount",
    "taxPercent",
    "packQuantity",
    "marginPercent",
    "percent",
}
_TRUTHS = {"awardsBonus", *PREFERENCES}


class Uploads:
    """Takes up uploaded files.

    Args:
        state: The tenant's memory.
        receipts: Where receipts from files go.
    """

    def __init__(self, state: State, receipts: ReceiptDesk) -> None:
        self._state = state
        self._receipts = receipts

    def run(self) -> None:
        """Take up every finished file, contacts before receipts, in the order of their names."""
        base = self._state.settings.root / "integration"
        for path in sorted((base / self._state.settings.contact_import_folder).glob("*_contacts.xml")):
            self._take(path, self._import_contacts)
        for path in sorted((base / "transactionImport").glob("*_transactions.xml")):
            self._take(path, self._import_receipts)

    def _take(self, path: Path, handle: Any) -> None:
        try:
            root = ET.fromstring(path.read_bytes())  # noqa: S314 (files of the tester's own)
        except ET.ParseError:
            self._state.note("file skipped: not xml", path.name)
        else:
            handle(root, path.name)
        path.unlink()

    def _import_contacts(self, root: ET.Element, name: str) -> None:
        export = root.get("avoidTriggeringExport") != "true"
        for container in root:
            for row in container:
                try:
                    self._import_contact(_local(container), _record(row), row.get("source"), export=export)
                except Refusal as refusal:
                    self._state.note(f"contact skipped: {refusal.code}", name)
        self._state.note("contact file imported", name)

    def _import_contact(self, container: str, row: dict[str, Any], source: str | None, *, export: bool) -> None:
        state = self._state
        key = state.settings.contact_types["Member"]
        names = ("contactId", "memberNumber", "externalId", key)
        known = next((state.find(name, row[name]) for name in names if row.get(name)), [])
        if container == "deleted":
            state.delete(contacts.only(known))
            return
        wrong = {text.partition(":")[0] for text in values.find_errors(state, row)}
        fields = {name: value for name, value in row.items() if name not in wrong}
        if known:
            contacts.update(state, contacts.only(known), fields, export=export)
            return
        draft = contacts.begin_create(state, fields, source=source, store=row.get("createdInStore"), approved=True)
        if not isinstance(draft, Contact):
            contacts.finish_create(state, draft)

    def _import_receipts(self, root: ET.Element, name: str) -> None:
        for row in root:
            try:
                self._receipts.accept(json.dumps(_record(row)).encode())
            except Refusal as refusal:
                self._state.note(f"receipt skipped: {'; '.join(refusal.validation) or refusal.code}", name)
        self._state.note("receipt file received", name)


def _record(element: ET.Element) -> dict[str, Any]:
    return {name: value for child in element for name, value in _member(child)}


def _member(element: ET.Element) -> Iterator[tuple[str, Any]]:
    name = _local(element)
    text = (element.text or "").strip()
    if name in _LISTS:
        yield name, [_record(child) for child in element]
    elif name == "extraData":
        yield name, [{"name": child.get("name"), "value": child.text} for child in element]
    elif len(element):
        yield name, _record(element)
    elif name == "quantity" and text.lstrip("-").isdigit():
        yield name, int(text)
    elif name in _NUMBERS:
        yield name, _number(text)
    elif name in _TRUTHS and text:
        yield name, text.lower() == "true"
    else:
        yield name, text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
