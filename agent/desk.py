"""What a till asks about people, put together: who they are, and what they can use."""

from __future__ import annotations

from dataclasses import dataclass

from agent.ground import Ground
from agent.ports import Replica
from agent.services.asking import Asking
from agent.services.benefits import BenefitsPolicy, MemberBenefitsDesk
from agent.services.contacts import LocalContacts
from agent.services.handles import Handles
from agent.services.identify import Identify, IdentifyPolicy
from agent.systems import System


@dataclass(frozen=True, slots=True)
class Desk:
    """Who somebody is, and what they can use."""

    identify: Identify
    benefits: MemberBenefitsDesk


def open_desk(ground: Ground, loyalty: System, replica: Replica) -> Desk:
    """Both, which share one breaker, one budget and the handles of people whom only the vendor knows."""
    settings, clock, link = ground.settings, ground.clock, loyalty.link
    owner, stale_after = loyalty.room.owner, settings.replica.stale_after
    handles = Handles(clock)
    asking = Asking(
        clock, link, live=settings.loyalty.live_lookup, budget_s=settings.loyalty.live_lookup_budget.total_seconds()
    )
    identify = Identify(
        clock=clock,
        normaliser=ground.normaliser,
        replica=replica,
        lookup=loyalty.connector.lookup,
        asking=asking,
        link=link,
        handles=handles,
        policy=IdentifyPolicy(ground.tagging, stale_after),
    )
    benefits = MemberBenefitsDesk(
        clock=clock,
        contacts=LocalContacts(replica, ground.tagging),
        handles=handles,
        vendor=owner.benefits(loyalty.connector) if owner is not None and owner.benefits is not None else None,
        asking=asking,
        link=link,
        policy=BenefitsPolicy(
            settings.benefits.keep, stale_after, tuple(item.offer() for item in settings.benefits.general)
        ),
    )
    return Desk(identify, benefits)
