"""What a till asks about people, put together: who they are or are to be, what they can use, what a sale would earn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from agent.domain.enrolment import Enrolment
from agent.domain.fallback import WRITE_LEVEL
from agent.domain.link import Link
from agent.domain.revision import Revision
from agent.domain.transaction import IntegrationKey
from agent.ground import Ground
from agent.ports import BulkRecord, EnrolmentRecord, RedemptionRecord, Remember, Replica
from agent.services.asking import Asking
from agent.services.benefits import BenefitsPolicy, MemberBenefitsDesk
from agent.services.bringing import Bringing, Manner
from agent.services.combining import WayTogether
from agent.services.contacts import LocalContacts, Newcomers
from agent.services.enrolling import Enrolling, EnrolPolicy
from agent.services.gathering import Gathering
from agent.services.handles import Handles, Refs
from agent.services.identify import Identify, IdentifyPolicy
from agent.services.news import News
from agent.services.preview import Preview, PreviewPolicy
from agent.services.redeeming import Redeeming
from agent.services.revising import Revising
from agent.services.turns import Turns
from agent.services.updating import RevisionRecord, Updating
from agent.systems import LOOKUP_AT_DELIVERY_S, System


@dataclass(frozen=True, slots=True)
class Desk:
    """Who somebody is, making them a member, what they can use, using it up, and what they would earn."""

    identify: Identify
    enrolling: Enrolling
    bringing: Bringing
    revising: Revising
    updating: Updating
    newcomers: Newcomers
    benefits: MemberBenefitsDesk
    redeeming: Redeeming
    preview: Preview


def open_desk(
    ground: Ground,
    loyalty: System,
    replica: Replica,
    *,
    record: RedemptionRecord,
    made_here: EnrolmentRecord,
    calls: BulkRecord[Enrolment],
    calls_of_changes: BulkRecord[Revision],
    changed_here: RevisionRecord,
    audit: Callable[..., Awaitable[Any]],
    sales_again: Callable[[IntegrationKey], Awaitable[int]],
    room: Callable[[], bool],
    told: Callable[[str], None],
    news: News,
    asking_now: Callable[[], Remember] | None,
) -> Desk:
    """All of it; they share the line, and the handles of people whom only the vendor knows.

    Args:
        ground: the configuration and the clock.
        loyalty: the system that owns the contacts.
        replica: the local contacts.
        record: redemptions on disk.
        made_here: contacts made here, on disk.
        calls: calls with several of them, on disk.
        calls_of_changes: calls with several changes, on disk.
        changed_here: changes given here, on disk.
        audit: the audit trail.
        sales_again: puts the sales of somebody made here back in line, whom the loyalty system has taken after all.
        room: whether there is room for another record.
        told: hears of each state that a redemption comes to.
        news: what further systems are told of who joined and what changed.
        asking_now: what keeps the answers of a look-up that begins now; None where they are not kept.
    """
    settings, clock, link = ground.settings, ground.clock, loyalty.link
    owner, stale_after = loyalty.room.owner, settings.replica.stale_after
    handles, spend_with = Handles(clock), frozenset(settings.benefits.spend_with)
    general = tuple(item.offer() for item in settings.benefits.general)
    welcome = tuple(item.offer() for item in settings.benefits.welcome)
    asking = Asking(
        clock,
        link,
        live=settings.loyalty.live_lookup,
        budget_s=settings.loyalty.live_lookup_budget.total_seconds(),
        asking_now=asking_now,
    )
    newcomers = Newcomers(made_here, settings.replica.fields, changed_here)
    contacts = LocalContacts(replica, ground.tagging, newcomers)
    identify = Identify(
        clock=clock,
        normaliser=ground.normaliser,
        replica=replica,
        lookup=loyalty.connector.lookup,
        asking=asking,
        link=link,
        handles=handles,
        named=record.named,
        policy=IdentifyPolicy(ground.tagging, stale_after, spend_with, loyalty.fresh_for, general),
        newcomers=newcomers,
    )
    writer, manner = loyalty.connector.writer, Manner(settings.agent.store_id, LOOKUP_AT_DELIVERY_S, loyalty.pace)
    updating = Updating(
        clock=clock,
        record=changed_here,
        writer=writer,
        turns=_turns(ground, link),
        manner=manner,
        as_of=contacts.as_of,
        their_time=asking.their_time,
        conditions=ground.conditions,
        audit=audit,
        news=news,
        together=_together(ground, loyalty, calls_of_changes),
    )
    ground.bells.erased.listen(updating.erased)
    bringing = Bringing(
        clock=clock,
        record=made_here,
        newcomers=newcomers,
        lookup=loyalty.connector.lookup,
        writer=writer,
        turns=_turns(ground, link),
        manner=manner,
        existing=updating.existing,
        sales_again=sales_again,
        conditions=ground.conditions,
        news=news,
        gathering=_gathering(ground, loyalty, made_here, calls, contacts),
    )
    ground.bells.erased.listen(bringing.tell)  # whoever was parked may be gone
    patient = Asking(clock, link, live=True, budget_s=settings.enrol.budget.total_seconds(), patient=True)
    enrol_policy = _enrol_policy(ground, writes=writer is not None)
    enrolling = Enrolling(
        clock=clock,
        normaliser=ground.normaliser,
        record=made_here,
        newcomers=newcomers,
        contacts=contacts,
        live=identify.live,
        asking=patient,
        bringing=bringing,
        link=link,
        policy=enrol_policy,
        room=room,
        added=ground.bells.accepted,
    )
    unasked = settings.benefits.offline.policy()
    refs = Refs(contacts, handles)
    revising = Revising(
        clock=clock,
        normaliser=ground.normaliser,
        offered=enrol_policy.offered,
        newcomer=enrolling.add_to,
        refs=refs,
        contacts=contacts,
        live=identify.live,
        asking=patient,
        record=changed_here,
        updating=updating,
        link=link,
        stale_after=stale_after,
        room=room,
        added=ground.bells.accepted,
    )
    benefits = MemberBenefitsDesk(
        clock=clock,
        refs=refs,
        vendor=owner.benefits(loyalty.connector) if owner is not None and owner.benefits is not None else None,
        asking=asking,
        link=link,
        given_unasked=record.given_unasked,
        policy=BenefitsPolicy(
            settings.benefits.keep,
            stale_after,
            general,
            welcome,
            unasked,
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
        shops=frozenset(offer.id for offer in (*general, *welcome)),
        told=told,
    )
    rule = settings.benefits.estimate
    preview = Preview(
        clock=clock,
        normaliser=ground.normaliser,
        replica=replica,
        lookup=loyalty.connector.lookup,
        vendor=owner.preview(loyalty.connector) if owner is not None and owner.preview is not None else None,
        asking=asking,
        link=link,
        policy=PreviewPolicy(
            ground.tagging,
            settings.agent.store_id,
            settings.agent.till_id,
            rule.rule() if rule is not None else None,
        ),
        newcomers=newcomers,
        misnamed=owner.misnamed if owner is not None else None,
    )
    return Desk(identify, enrolling, bringing, revising, updating, newcomers, benefits, redeeming, preview)


def _gathering(
    ground: Ground, loyalty: System, made_here: EnrolmentRecord, calls: BulkRecord[Enrolment], contacts: LocalContacts
) -> Gathering | None:
    owner = loyalty.room.owner
    bulk = owner.bulk(loyalty.connector) if owner is not None and owner.bulk is not None else None
    if bulk is None:
        return None
    return Gathering(
        clock=ground.clock,
        record=made_here,
        calls=calls,
        bulk=bulk,
        turns=_turns(ground, loyalty.link),
        store_id=ground.settings.agent.store_id,
        timeout_s=LOOKUP_AT_DELIVERY_S,
        pace=loyalty.pace,
        listed=contacts.lists,
    )


def _together(ground: Ground, loyalty: System, calls: BulkRecord[Revision]) -> WayTogether | None:
    owner = loyalty.room.owner
    bulk = owner.bulk_changes(loyalty.connector) if owner is not None and owner.bulk_changes is not None else None
    return WayTogether(calls, bulk, _turns(ground, loyalty.link)) if bulk is not None else None


def _turns(ground: Ground, link: Link) -> Turns:
    queue = ground.settings.queue
    return Turns(
        ground.clock,
        link,
        first_s=queue.backoff_first.total_seconds(),
        longest_s=queue.backoff_max.total_seconds(),
        uniform=ground.chance.uniform,
    )


def _enrol_policy(ground: Ground, *, writes: bool) -> EnrolPolicy:
    settings = ground.settings
    return EnrolPolicy(
        offered=writes and settings.loyalty.fallback_level >= WRITE_LEVEL,
        prefix=settings.enrol.prefix(settings.agent),
        stale_after=settings.replica.stale_after,
    )
