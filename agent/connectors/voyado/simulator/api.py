"""Engage's endpoints, v2 and v3: which path does what. The rules themselves are in the rooms beside this one."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from agent.connectors.simulation.answers import Endpoint, Handler, answer
from agent.connectors.voyado.simulator import contacts, views
from agent.connectors.voyado.simulator.answers import endpoint, parse, refuse
from agent.connectors.voyado.simulator.controls import control_routes
from agent.connectors.voyado.simulator.formats import parse_moment
from agent.connectors.voyado.simulator.gate import DELAY, guard
from agent.connectors.voyado.simulator.loyalty import loyalty_routes
from agent.connectors.voyado.simulator.records import PREFERENCES, Contact
from agent.connectors.voyado.simulator.refusal import Refusal

if TYPE_CHECKING:
    from agent.connectors.voyado.simulator.tenant import VoyadoSimulator


def build_app(simulator: "VoyadoSimulator") -> ASGIApp:
    """The tenant's ASGI application: both API versions behind the gate, and the controls beside it."""
    loyalty = [
        Route(path, endpoint(simulator, handler), methods=[method])
        for method, path, handler in loyalty_routes(simulator)
    ]
    controls = [
        Route(f"/_sim/{name}", endpoint(simulator, handler), methods=[method])
        for method, name, handler in control_routes(simulator)
    ]
    api = Starlette(routes=[*Api(simulator).routes(), *loyalty])
    return guard(simulator, api, Starlette(routes=controls))


class Api:
    """The endpoints around contacts, receipts, stores and consents.

    Args:
        simulator: The tenant they work on.
    """

    def __init__(self, simulator: "VoyadoSimulator") -> None:
        self._simulator = simulator

    def routes(self) -> list[Route]:
        """Every path of both versions, the busiest first, a fixed path before one with a variable in its place."""
        both: list[tuple[str, str, Handler]] = [
            ("POST", "/receipts", self._post_receipt),
            ("GET", "/contacts/id", self._find_id),
            ("GET", "/contacts/changes", self._changes),
            ("POST", "/contacts/bulk", self._bulk_create),
            ("PATCH", "/contacts/bulk", self._bulk_update),
            ("GET", "/contacts/bulk/status", self._bulk_status),
            ("GET", "/contacts/{contact_type}/bykey", self._by_key),
            ("POST", "/contacts/{contact_id}/updateContactType", self._update_type),
            ("POST", "/contacts/{contact_id}/preferences/{preference}", self._set_preference),
            ("GET", "/contacts/{contact_id}/transactions", self._transactions),
            ("DELETE", "/contacts/{contact_id}", self._delete),
            ("GET", "/contactoverview", self._overview),
            ("GET", "/stores", self._stores),
            ("POST", "/stores", self._post_store),
            ("GET", "/stores/{external_id}", self._store),
            ("GET", "/consents", self._consents),
        ]
        v2: list[tuple[str, str, Handler]] = [
            ("GET", "/contacts/count", self._count),
            ("GET", "/contacts/{contact_type}/count", self._count),
            ("GET", "/contacts/{contact_type}/bykey/{value}", self._by_key),
            ("GET", "/contacts/{contact_type}/byexternalid/{external_id}", self._by_external_id),
            ("POST", "/contacts/{contact_id}/promoteToMember", self._promote),
            ("GET", "/memberstatus", self._member_status),
            ("POST", "/contacts/{contact_id}", self._update),
            ("POST", "/stores/{external_id}", self._post_store),
        ]
        v3: list[tuple[str, str, Handler]] = [("PATCH", "/contacts/{contact_id}", self._update)]
        last: list[tuple[str, str, Handler]] = [("GET", "/contacts/{contact_id}", self._contact)]
        return [
            Route(f"/api/{version}{path}", respond, methods=[method])
            for version, own, create in (("v3", v3, self._create_v3), ("v2", v2, self._create_v2))
            for method, path, respond in (
                ("POST", "/contacts", create),
                *((method, path, self._endpoint(handler)) for method, path, handler in (*both, *own, *last)),
            )
        ]

    def _endpoint(self, handler: Handler) -> Endpoint:
        return endpoint(self._simulator, handler)

    # Receipts

    def _post_receipt(self, _request: Request, body: bytes) -> Response:
        self._simulator.receipts.accept(body)
        return answer({}, self._simulator.settings.receipt_status)

    def _transactions(self, request: Request, _body: bytes) -> Response:
        contact = self._named(request)
        posted = self._simulator.receipts.by_contact.get(contact.contact_id, [])
        items = [views.transaction(one, place, self._simulator.state) for place, one in enumerate(posted, 1)]
        return answer(views.page(items, dict(request.query_params), links=[]))

    # Reading contacts

    def _find_id(self, request: Request, _body: bytes) -> Response:
        contact = contacts.look_up(self._simulator.state, request.query_params)
        return answer(self._simulator.faults.guid(contact.contact_id))

    def _contact(self, request: Request, _body: bytes) -> Response:
        return self._show(self._named(request))

    def _by_key(self, request: Request, _body: bytes) -> Response:
        value = request.path_params.get("value") or request.query_params.get("keyValue", "")
        return self._show(contacts.by_type_key(self._simulator.state, request.path_params["contact_type"], value))

    def _by_external_id(self, request: Request, _body: bytes) -> Response:
        state = self._simulator.state
        contact_type = contacts.known_type(state, request.path_params["contact_type"])
        return self._show(contacts.only(state.find("externalId", request.path_params["external_id"], contact_type)))

    def _overview(self, request: Request, _body: bytes) -> Response:
        state = self._simulator.state
        query = dict(request.query_params)
        if "contactId" in query:
            contact = contacts.only(state.find("contactId", query["contactId"]))
        else:
            contact = contacts.look_up(state, query)
        posted = self._simulator.receipts.by_contact.get(contact.contact_id, [])
        shown = views.overview(
            contact,
            state,
            self._simulator.faults,
            self._simulator.rewards,
            version=request.url.path.split("/")[2],
            last_purchase=max((one.receipt()["createdDate"] for one in posted), default=None),
        )
        return answer(shown)

    def _member_status(self, request: Request, _body: bytes) -> Response:
        name, _, value = request.query_params.get("query", "").partition(":")
        if name not in {"contactId", "memberNumber", "mobilePhone", "email", "socialSecurityNumber", "externalId"}:
            raise Refusal(400, "InvalidSearchQuery")
        found = self._simulator.state.find(name, value, None if name == "contactId" else "Member")
        if not found:
            raise Refusal(404, "ContactNotFound")
        data = {"contactId": found[0].contact_id, "memberNumber": found[0].value("memberNumber")}
        return answer({"statusColor": "Green", "statusText": "Member", "data": data})

    def _count(self, request: Request, _body: bytes) -> Response:
        state = self._simulator.state
        wanted = request.path_params.get("contact_type")
        name = contacts.known_type(state, wanted) if wanted else None
        people = (person for person in state.contacts.values() if person.deleted_at is None and person.approved)
        return answer(sum(1 for person in people if name is None or person.contact_type == name))

    def _changes(self, request: Request, _body: bytes) -> Response:
        ids = contacts.changes(self._simulator.state, request.query_params, parse_moment)
        return answer([self._simulator.faults.guid(contact_id) for contact_id in ids])

    # Writing contacts

    async def _create_v2(self, request: Request) -> Response:
        return await self._create(request, request.headers, patience_s=None)

    async def _create_v3(self, request: Request) -> Response:
        return await self._create(request, request.query_params, patience_s=self._simulator.settings.create_timeout_s)

    async def _create(self, request: Request, options: Mapping[str, str], patience_s: float | None) -> Response:
        simulator, body = self._simulator, await request.body()
        with simulator.lock:
            try:
                draft = contacts.begin_create(
                    simulator.state,
                    parse(body),
                    source=options.get("source"),
                    store=options.get("storeExternalId"),
                    approved=options.get("createAsUnapproved", "").lower() != "true",
                )
            except Refusal as refusal:
                return refuse(simulator, refusal)
        if isinstance(draft, Contact):
            return self._show(draft)
        delay_s = request.scope.get(DELAY, 0.0)
        gives_up = patience_s is not None and delay_s > patience_s
        try:
            await asyncio.sleep(patience_s if gives_up and patience_s is not None else delay_s)
            with simulator.lock:
                if gives_up:
                    return refuse(simulator, Refusal(504, "RequestTimeOut"))
                return self._show(contacts.finish_create(simulator.state, draft), 201)
        finally:
            contacts.abandon_create(simulator.state, draft)

    def _update(self, request: Request, body: bytes) -> Response:
        return self._show(contacts.update(self._simulator.state, self._named(request), parse(body)))

    def _promote(self, request: Request, body: bytes) -> Response:
        contact = self._named(request)
        if body:
            contacts.update(self._simulator.state, contact, parse(body))
        return self._show(contacts.change_type(self._simulator.state, contact, "Member"))

    def _update_type(self, request: Request, _body: bytes) -> Response:
        contact_type = request.query_params.get("contactTypeId", "")
        contacts.change_type(self._simulator.state, self._named(request), contact_type)
        return Response(status_code=200)

    def _set_preference(self, request: Request, body: bytes) -> Response:
        name, wanted = request.path_params["preference"], parse(body)
        if name not in PREFERENCES:
            raise Refusal(404, "NotFound")
        if not isinstance(wanted, dict) or not isinstance(wanted.get("value"), bool):
            raise Refusal(422, "ValidationError", validation=["value: true or false"])
        return self._show(contacts.set_preference(self._simulator.state, self._named(request), name, wanted["value"]))

    def _delete(self, request: Request, _body: bytes) -> Response:
        self._simulator.state.delete(self._named(request))
        return Response(status_code=200)

    def _bulk_create(self, request: Request, body: bytes) -> Response:
        contact_type = request.query_params.get("contactType", "Member")
        return answer(self._simulator.bulk.accept("create", parse(body), contact_type).batch_id, 202)

    def _bulk_update(self, request: Request, body: bytes) -> Response:
        contact_type = request.query_params.get("contactType", "Member")
        export = request.query_params.get("avoidTriggeringExport", "").lower() != "true"
        batch = self._simulator.bulk.accept("update", parse(body), contact_type, export=export)
        return answer(batch.batch_id, 202)

    def _bulk_status(self, request: Request, _body: bytes) -> Response:
        batch = self._simulator.bulk.batches.get(request.query_params.get("batchId", ""))
        if batch is None:
            raise Refusal(404, "BatchNotFound")
        return answer(batch.describe())

    # Stores and consents

    def _stores(self, request: Request, _body: bytes) -> Response:
        everything = request.query_params.get("includeInactive", "").lower() == "true"
        return answer([store for store in self._simulator.state.stores.values() if everything or store["active"]])

    def _store(self, request: Request, _body: bytes) -> Response:
        store = self._simulator.state.stores.get(request.path_params["external_id"])
        if store is None:
            raise Refusal(404, "StoreNotFound")
        return answer(store)

    def _post_store(self, request: Request, body: bytes) -> Response:
        fields = parse(body)
        if not isinstance(fields, dict):
            raise Refusal(400, "NoData")
        named = {**fields, "externalId": request.path_params.get("external_id") or fields.get("externalId")}
        if not isinstance(named["externalId"], str) or not named.get("name"):
            raise Refusal(400, "NameAndExternalIdRequired")
        return answer(self._simulator.state.open_store(named["externalId"], named))

    def _consents(self, _request: Request, _body: bytes) -> Response:
        return answer(self._simulator.state.consents)

    # Common steps

    def _named(self, request: Request) -> Contact:
        return contacts.only(self._simulator.state.find("contactId", request.path_params["contact_id"]))

    def _show(self, contact: Contact, status: int = 200) -> Response:
        return answer(views.contact(contact, self._simulator.state, self._simulator.faults), status)
