"""What a till asks about people, put together: who they are, and what they can use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.ground import Ground
from agent.ports import RedemptionRecord, Replica
from agent.services.asking import Asking
from agent.services.benefits import BenefitsPolicy, MemberBenefitsDesk
from agent.services.contacts import LocalContacts
from agent.services.handles import Handles, Refs
from agent.services.identify import Identify, IdentifyPolicy
from agent.services.redeeming import Redeeming
from agent.systems import System


@dataclass(frozen=True, slots=True)
class Desk:
    """Who somebody is, what they can use, and using it up."""

    identify: Identify
    benefits: MemberBenefitsDesk
    redeeming: Redeeming


def open_desk(
    ground: Ground, loyalty: System, replica: Replica, record: RedemptionRecord, told: Callable[[str], None]
) -> Desk:
    """All of it; they share the line, and the handles of people whom only the vendor knows.

    Args:
        ground: the configuration and the clock.
        loyalty: the system that owns the contacts.
        replica: the local contacts.
        record: redemptions on disk.
        told: hears of each state that a redemption comes to.
    """
    settings, clock, link = ground.settings, ground.clock, loyalty.link
    owner, stale_after = loyalty.room.owner, settings.replica.stale_after
    handles, spend_with = Handles(clock), frozenset(settings.benefits.spend_with)
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
        policy=IdentifyPolicy(ground.tagging, stale_after, spend_with),
    )
    unasked = settings.benefits.offline.policy()
    refs = Refs(LocalContacts(replica, ground.tagging), handles)
    benefits = MemberBenefitsDesk(
        clock=clock,
        refs=refs,
        vendor=owner.benefits(loyalty.connector) if owner is not None and owner.benefits is not None else None,
        asking=asking,
        link=link,
        given_unasked=record.given_unasked,
        policy=BenefitsPolicy(
            settings.benefits.keep, stale_after, tuple(item.offer() for item in settings.benefits.general), unasked
        ),
    )
    redeeming = Redeeming(
        clock=clock,
        record=record,
        vendor=owner.redeemer(loyalty.connector) if owner is not None and owner.redeemer is not None else None,
        asking=Asking(clock, link, live=True, budget_s=settings.benefits.redeem_budget.total_seconds(), patient=True),
        refs=refs,
        spend_with=spend_with,
        unasked=unasked,
        remembered=benefits.remembered,
        over=benefits.drop,
        conditions=ground.conditions,
        told=told,
    )
    return Desk(identify, benefits, redeeming)
