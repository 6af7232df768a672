"""The simulated workspace's rewards: what can be had for points, who claimed what, and which claims were revoked.

A claim is an event of the customer's, named by the id that its answer has; each counts. This simulator's own choices:
that the event has the reward's id among its `properties` as `reward` (`names_rewards`), that a claim that is revoked
stays in the history with an event of its own beside it, and takes back the coupon that it gave.
"""

from collections.abc import Callable, Mapping
from typing import Any

from agent.connectors.antavo.simulator.coupons import Coupons
from agent.connectors.antavo.simulator.history import History
from agent.connectors.antavo.simulator.members import Member
from agent.connectors.antavo.simulator.refusal import Refused, not_found

_OFTEN_ENOUGH, _OUT_OF_STOCK, _NOT_ENOUGH_POINTS = 120211, 120212, 120241
_NOT_ACTIVE, _NO_SUCH_CLAIM, _REVOKED = 160321, 160340, 160344


class Rewards:
    """All rewards, by id.

    Attributes:
        by_id: as the API shows them, with `max_claims` and `stock` where there is a limit.
        claims: every claim by the id of its event: whose, of what, for how many points, with which coupon.
        revoked: those of them that were revoked.
        module: whether the workspace has rewards at all.
        names_rewards: the history says of which reward a claim is.

    Args:
        now: seconds since 1970.
        history: claims are told there.
        coupons: where a claim's coupon goes.
    """

    def __init__(self, now: Callable[[], int], history: History, coupons: Coupons) -> None:
        self._now, self._history, self._coupons = now, history, coupons
        self.by_id: dict[str, dict[str, Any]] = {}
        self.claims: dict[str, dict[str, Any]] = {}
        self.revoked: set[str] = set()
        self.module = self.names_rewards = True

    def add(self, reward_id: str, **fields: Any) -> dict[str, Any]:
        """The workspace gets a reward: a mug for a hundred points, unless it is said otherwise."""
        self.by_id[reward_id] = {
            "id": reward_id, "title": "A mug", "description": "From the shelf behind the till", "status": "active",
            "type": "physical", "points": 100, "starts_at": None, "ends_at": None, **fields,
        }  # fmt: skip
        return self.by_id[reward_id]

    def forget(self) -> None:
        """Begins anew: no rewards, and nobody has any."""
        self.by_id.clear()
        self.claims.clear()
        self.revoked.clear()

    def listed(self, member: Member, query: Mapping[str, str]) -> dict[str, Any]:
        """A page of what a member could have. Raises Refused."""
        if not self.module:
            raise not_found("Not found")
        rows = [self._shown(one, member) for one in self.by_id.values()]
        limit, offset = int(query.get("limit", 100)), int(query.get("offset", 0))
        end = offset + limit
        more = f"/customers/-/activities/rewards?offset={end}" if "limit" in query and end < len(rows) else None
        return {"data": rows[offset:end], "next": more, "previous": None}

    def one(self, member: Member, reward_id: str) -> dict[str, Any]:
        """A reward, as a member sees it. Raises Refused."""
        reward = self._of(reward_id)
        if reward["status"] != "active":
            raise Refused(400, _NOT_ACTIVE, "Reward is not active")
        return self._shown(reward, member)

    def claim(self, member: Member, reward_id: str) -> dict[str, Any]:
        """A member has it. Raises Refused."""
        reward = self._of(reward_id)
        objection = self._objection(reward, member)
        if objection is not None:
            raise objection
        member.spent += reward["points"]
        told = [{"name": "reward", "label": "Reward", "value": reward_id}] if self.names_rewards else []
        claim = self._history.tell("reward", member.id, self._now(), -reward["points"], told)
        coupon = self._coupons.give(member.id, f"C-{claim}") if reward.get("coupon_pool") else None
        self.claims[claim] = {"customer": member.id, "reward": reward_id, "points": reward["points"], "coupon": coupon}
        answer = {"spent": reward["points"], "id": claim, "last_claimed_at": self._now()}
        return answer if coupon is None else {**answer, "coupon": coupon}

    def revoke(self, member: Member, reward_id: str, event: Any) -> dict[str, Any]:
        """A claim is undone, and its points are back. Raises Refused."""
        claim = self.claims.get(str(event))
        if claim is None or (claim["customer"], claim["reward"]) != (member.id, reward_id):
            raise Refused(400, _NO_SUCH_CLAIM, "Event not found")
        if event in self.revoked:
            raise Refused(400, _REVOKED, "Claim event already revoked")
        self.revoked.add(str(event))
        member.spent -= claim["points"]
        if claim["coupon"] is not None:
            claim["coupon"]["status"] = "invalid"
        self._history.tell("reward_revoke", member.id, self._now(), claim["points"])
        return {}

    def held(self, member_id: str) -> list[str]:
        """The rewards that a member has, a claim each, in their order."""
        kept = (claim for event, claim in self.claims.items() if event not in self.revoked)
        return [str(claim["reward"]) for claim in kept if claim["customer"] == member_id]

    def _shown(self, reward: dict[str, Any], member: Member) -> dict[str, Any]:
        if self._objection(reward, member) is not None:
            return reward
        url = f"/customers/{member.id}/activities/rewards/{reward['id']}/claim"
        return {**reward, "_actions": {"complete": {"method": "POST", "url": url}}}

    def _objection(self, reward: dict[str, Any], member: Member) -> Refused | None:
        """Why a member cannot have it now."""
        standing = [claim for event, claim in self.claims.items() if event not in self.revoked]
        of_it = [claim for claim in standing if claim["reward"] == reward["id"]]
        own = [claim for claim in of_it if claim["customer"] == member.id]
        if reward["status"] != "active":
            return Refused(400, _NOT_ACTIVE, "Reward is not active")
        if len(own) >= reward.get("max_claims", len(own) + 1):
            return Refused(400, _OFTEN_ENOUGH, "Customer can't claim this reward more times")
        if len(of_it) >= reward.get("stock", len(of_it) + 1):
            return Refused(400, _OUT_OF_STOCK, "Reward stock ran out")
        if member.spendable < reward["points"]:
            return Refused(400, _NOT_ENOUGH_POINTS, "Customer does not have enough points")
        return None

    def _of(self, reward_id: str) -> dict[str, Any]:
        if not self.module or reward_id not in self.by_id:
            raise not_found("Not Found")
        return self.by_id[reward_id]
