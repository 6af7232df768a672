"""The vendors whose contacts a till makes and changes, each behind the same handful of questions."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Protocol

from agent.connectors.antavo import simulator as antavo
from agent.connectors.registry import ROOMS
from agent.connectors.simulation.line import LineFault
from agent.connectors.voyado import simulator as voyado
from agent.connectors.voyado.simulator.contacts import begin_create, finish_create
from agent.connectors.voyado.simulator.faults import Fault as VoyadoFault
from agent.domain.identifiers import IdentifierType
from agent.ports import Connector
from tests.connectors.mparticle.sales import Reference
from tests.contract.rooms import TABLES
from tests.fakes import NOW, FakeClock, surroundings
from tests.wire import POLICY

KEY = "hush-hush"


class Vendor(Protocol):
    """A made-up vendor.

    Attributes:
        refused: what of a contact it refuses, which anybody can have said.
        table: what its table needs beside its address.
    """

    refused: dict[str, Any]
    table: dict[str, Any]

    async def start(self) -> str:
        """Its address."""

    async def stop(self) -> None:
        """Its end."""

    def add(self, **said: Any) -> str:
        """Somebody who is there already, by our names; their contact id."""

    def remove(self, contact_id: str) -> None:
        """Somebody is gone without a word."""

    def people(self) -> dict[str, dict[str, Any]]:
        """Everybody, by contact id, with our names for what is there of them."""

    def calls(self) -> int:
        """How many it has answered."""

    def deafen(self) -> Any:
        """From now on it does what it is asked, and nobody hears of it; what ends that."""

    def hear(self, deafness: Any) -> None:
        """Ends it."""


class Voyado:
    """A tenant."""

    _NAMES = {"firstName": "first_name", "lastName": "last_name", "mobilePhone": "mobile_phone", "email": "email"}  # noqa: RUF012
    refused = {"consents": [{"id": "nobodys", "value": True, "given_at": NOW, "place": "1042"}]}  # noqa: RUF012
    table: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, root: Path) -> None:
        settings = voyado.SimulatorSettings(root=root / "sftp", api_keys=(KEY,))
        self.sim = voyado.VoyadoSimulator(settings, now=lambda: NOW, rng=random.Random(7))

    async def start(self) -> str:
        self._running = await voyado.serve(self.sim)
        return self._running.url

    async def stop(self) -> None:
        await self._running.stop()

    def add(self, **said: Any) -> str:
        theirs = {ours: name for name, ours in self._NAMES.items()}
        body = {"contactType": "Member", **{theirs[name]: value for name, value in said.items()}}
        made = begin_create(self.sim.state, body, source="web", store=None, approved=True)
        return str(finish_create(self.sim.state, made).contact_id).lower()

    def remove(self, contact_id: str) -> None:
        contacts = self.sim.state.contacts.values()
        self.sim.state.delete(next(one for one in contacts if one.contact_id.lower() == contact_id))

    def people(self) -> dict[str, dict[str, Any]]:
        return {
            one.contact_id.lower(): {ours: one.attributes.get(name) for name, ours in self._NAMES.items()}
            for one in self.sim.state.contacts.values()
            if one.deleted_at is None
        }

    def calls(self) -> int:
        return self.sim.state.keys[KEY].requests

    def deafen(self) -> Any:
        return self.sim.faults.add(VoyadoFault(kind="drop", path="*/contacts*", after_processing=True))

    def hear(self, deafness: Any) -> None:
        self.sim.faults.remove(deafness)


class Antavo:
    """A workspace, which may refuse what it has no field for."""

    _NAMES = ("first_name", "last_name", "mobile_phone", "email")
    refused = {"attributes": {"shoe_size": 38}}  # noqa: RUF012
    table = {"contact_fields": {"attributes/shoe_size": "shoes"}}  # noqa: RUF012

    def __init__(self, root: Path) -> None:
        self.sim = antavo.AntavoSimulator({KEY: KEY}, now=lambda: NOW)
        self.sim.books.members.taken = frozenset({*self._NAMES, "membership_id"})
        self._added = 0

    async def start(self) -> str:
        self._running = await antavo.serve(self.sim)
        return self._running.url

    async def stop(self) -> None:
        await self._running.stop()

    def add(self, **said: Any) -> str:
        self._added += 1
        return self.sim.add_member(f"c-{self._added}", **said).id

    def remove(self, contact_id: str) -> None:
        self.sim.vanish(contact_id)

    def people(self) -> dict[str, dict[str, Any]]:
        members = self.sim.books.members.by_id.values()
        return {one.id: {name: one.fields.get(name) for name in self._NAMES} for one in members}

    def calls(self) -> int:
        return sum(self.sim.requests.values())

    def deafen(self) -> Any:
        return self.sim.add(antavo.Fault(kind="drop", path="/events*", after_processing=True))

    def hear(self, deafness: LineFault) -> None:
        self.sim.remove(deafness)


VENDORS: dict[str, type[Vendor]] = {"voyado": Voyado, "antavo": Antavo}


def connected(name: str, vendor: Vendor, url: str, *, primary: IdentifierType, secret: str = KEY) -> Connector:
    """The room's connector to a made-up vendor that owns the contacts."""
    room = ROOMS[name]
    stated = {**TABLES[name], **vendor.table}
    table = {key: value.format(url=url) if isinstance(value, str) else value for key, value in stated.items()}
    return room.build(
        room.settings.model_validate(table),
        surroundings(
            role="loyalty",
            secret=lambda _reference: Reference(secret),
            http=POLICY,
            primary=primary,
            clock=FakeClock(),
        ),
    )
