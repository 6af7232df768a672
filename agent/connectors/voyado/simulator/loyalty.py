"""Endpoints a till reads points, vouchers and promotions from, and redeems them at."""

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from agent.connectors.simulation.answers import Handler, answer
from agent.connectors.voyado.simulator import contacts, views
from agent.connectors.voyado.simulator.answers import parse
from agent.connectors.voyado.simulator.refusal import Refusal
from agent.connectors.voyado.simulator.rewards import Voucher

if TYPE_CHECKING:
    from agent.connectors.voyado.simulator.tenant import VoyadoSimulator


def loyalty_routes(simulator: "VoyadoSimulator") -> list[tuple[str, str, Handler]]:
    """Method, path and function of each."""
    loyalty = _Loyalty(simulator)
    return [
        ("GET", "/api/v3/point-accounts", loyalty.accounts_v3),
        ("GET", "/api/v3/point-transactions", loyalty.point_transactions),
        ("GET", "/api/v3/reward-vouchers", loyalty.vouchers_v3),
        ("GET", "/api/v3/reward-vouchers/available", loyalty.vouchers_v3),
        ("GET", "/api/v3/contacts/{contact_id}/promotions", loyalty.promotions),
        ("GET", "/api/v3/reward-vouchers/redeemed", loyalty.vouchers_v3),
        ("POST", "/api/v3/reward-vouchers/{voucher_id}/redeem", loyalty.redeem_voucher_v3),
        ("POST", "/api/v3/reward-vouchers/{voucher_id}/reactivate", loyalty.reactivate_voucher_v3),
        ("POST", "/api/v3/promotion-assignments/{instance_id}/redeem", loyalty.redeem_promotion),
        ("GET", "/api/v2/point-accounts", loyalty.accounts_v2),
        ("GET", "/api/v2/contacts/{contact_id}/bonuschecks", loyalty.vouchers_v2),
        ("GET", "/api/v2/contacts/{contact_id}/bonuschecks/available", loyalty.vouchers_v2),
        ("GET", "/api/v2/contacts/{contact_id}/bonuschecks/redeemed", loyalty.vouchers_v2),
        ("POST", "/api/v2/contacts/{contact_id}/bonuschecks/{voucher_id}/redeem", loyalty.redeem_voucher_v2),
        ("POST", "/api/v2/promotions/reward-vouchers/{voucher_id}/reactivate", loyalty.reactivate_voucher_v2),
        ("GET", "/api/v2/contacts/{contact_id}/promotions", loyalty.promotions),
        ("POST", "/api/v2/contacts/{contact_id}/promotions/{instance_id}/redeem", loyalty.redeem_promotion),
        ("POST", "/api/v2/promotions/codes/{instance_id}/redeem", loyalty.redeem_promotion),
    ]


class _Loyalty:
    def __init__(self, simulator: "VoyadoSimulator") -> None:
        self._simulator = simulator

    def accounts_v2(self, request: Request, _body: bytes) -> Response:
        account = self._simulator.rewards.account(self._contact_id(request))
        return answer(views.page([views.account_v2(account)], dict(request.query_params), links=[]))

    def accounts_v3(self, request: Request, _body: bytes) -> Response:
        account = self._simulator.rewards.account(self._contact_id(request))
        shown = views.account_v3(account, self._simulator.state)
        return answer(views.page([shown], dict(request.query_params), links=[]))

    def point_transactions(self, request: Request, _body: bytes) -> Response:
        wanted = request.query_params.get("accountId")
        accounts = self._simulator.rewards.accounts.values()
        account = next((account for account in accounts if account.account_id == wanted), None)
        if account is None:
            raise Refusal(404, "PointAccountNotFound")
        return answer(views.page(account.transactions, dict(request.query_params), links=[]))

    def vouchers_v2(self, request: Request, _body: bytes) -> Response:
        items = [views.bonus_check(voucher, self._simulator.state) for voucher in self._vouchers(request)]
        return answer(views.page(items, dict(request.query_params)))

    def vouchers_v3(self, request: Request, _body: bytes) -> Response:
        items = [views.reward_voucher(voucher, self._simulator.state) for voucher in self._vouchers(request)]
        return answer(views.page(items, dict(request.query_params)))

    def promotions(self, request: Request, _body: bytes) -> Response:
        channel = request.query_params.get("redemptionChannelType")
        return answer(
            [
                promotion
                for promotion in self._simulator.rewards.promotions.get(self._contact_id(request), ())
                if channel is None or any(row["type"] == channel for row in promotion["redemptionChannels"])
            ],
        )

    def redeem_voucher_v3(self, request: Request, _body: bytes) -> Response:
        voucher = self._simulator.rewards.redeem_voucher(request.path_params["voucher_id"])
        return answer(views.reward_voucher(voucher, self._simulator.state))

    def redeem_voucher_v2(self, request: Request, _body: bytes) -> Response:
        voucher = self._simulator.rewards.redeem_voucher(request.path_params["voucher_id"], self._contact_id(request))
        return answer(views.bonus_check(voucher, self._simulator.state))

    def reactivate_voucher_v3(self, request: Request, _body: bytes) -> Response:
        voucher = self._simulator.rewards.reactivate_voucher(request.path_params["voucher_id"])
        return answer(views.reward_voucher(voucher, self._simulator.state))

    def reactivate_voucher_v2(self, request: Request, _body: bytes) -> Response:
        self._simulator.rewards.reactivate_voucher(request.path_params["voucher_id"])
        return answer(request.path_params["voucher_id"])

    def redeem_promotion(self, request: Request, body: bytes) -> Response:
        wanted = parse(body)
        channel = wanted.get("redemptionChannel") if isinstance(wanted, dict) else None
        contact_id = self._contact_id(request) if "contact_id" in request.path_params else None
        instance_id = request.path_params["instance_id"]
        return answer(self._simulator.rewards.redeem_promotion(instance_id, channel, contact_id))

    def _vouchers(self, request: Request) -> list[Voucher]:
        held = self._simulator.rewards.vouchers.get(self._contact_id(request), [])
        if request.url.path.endswith("/redeemed"):
            return [voucher for voucher in held if voucher.redeemed_at is not None]
        if not request.url.path.endswith("/available"):
            return held
        now = self._simulator.clock.now()
        return [voucher for voucher in held if voucher.expires_at > now and voucher.redeemed_at is None]

    def _contact_id(self, request: Request) -> str:
        named = request.path_params.get("contact_id") or request.query_params.get("contactId", "")
        return contacts.only(self._simulator.state.find("contactId", named)).contact_id
