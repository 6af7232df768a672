"""Activities as mParticle's batches: one custom event each, about one member. Pure.

===========================  ===================================================  ==================================
ours                         mParticle's                                          source
===========================  ===================================================  ==================================
activity_id                  source_request_id: a UUID made of it;                JSON reference, as with a sale
                             custom_attributes.activity_id                        our choice
type                         event_name, unchanged                                Redcat's names and triggers
member_deleted               event_name: `delete_event_name`                      Redcat prints "Member_delete request"
..._completed, member_update event_name, unchanged                                Redcat's names and triggers
..._completed                source_request_id: a UUID made of the member's key,  our choice: joining counts once,
                             not of the activity_id                               whichever tills tell of it
..._verification, deleted,   custom_event_type user_preference                    our choice: Redcat publishes none
..._completed, member_update
delivery_order_...           custom_event_type transaction                        our choice
occurred_at                  timestamp_unixtime_ms                                JSON reference
order_id                     custom_attributes.order_id                           our choice
attributes                   custom_attributes of the same names, as strings;     our choice: the older of the two
                             ours win, and what is null is left out               published shapes takes strings alone
store_id, till_id            custom_attributes: of the agent that was told        our choice
===========================  ===================================================  ==================================
"""

from datetime import UTC, datetime

from agent.connectors.mparticle.mapping import HISTORICAL_AFTER, OUTPUTS_TAKE, Batch
from agent.connectors.mparticle.person import render_bridge, render_person
from agent.connectors.mparticle.settings import MparticleSettings
from agent.connectors.mparticle.values import milliseconds, render_json, stable_id
from agent.domain.activity import Activity, ActivityType, ContactEvent, MemberEvent
from agent.domain.identifiers import IdentifierType
from agent.ports import Outgoing

_KINDS = {
    ActivityType.MEMBER_REGISTRATION_VERIFICATION: "user_preference",
    ActivityType.DELIVERY_ORDER_PICKED_UP: "transaction",
    ActivityType.DELIVERY_ORDER_APPROACHING: "transaction",
    ActivityType.DELIVERY_ORDER_DELIVERED: "transaction",
    ContactEvent.JOINED: "user_preference",
    ContactEvent.CHANGED: "user_preference",
    MemberEvent.DELETED: "user_preference",
}
_OF_AN_ACTIVITY = "activity"
"""Goes before its id: a sale's ids are made of its own alone."""


def render_activity(
    outgoing: Outgoing, activity: Activity, settings: MparticleSettings, *, primary: IdentifierType, now: datetime
) -> Batch:
    """The batch of an activity; without events when nothing that may be sent names its member.

    Args:
        outgoing: the activity with its tag.
        activity: it.
        settings: the table.
        primary: the type of the primary integration key.
        now: decides how old it is.
    """
    person = render_person(outgoing, settings, primary=primary)
    known_by = _known_by(outgoing, activity)
    age = now - activity.occurred_at
    data = {
        "event_name": settings.delete_event_name if activity.type is MemberEvent.DELETED else activity.type.value,
        "custom_event_type": _KINDS[activity.type],
        "source_message_id": stable_id(*known_by, activity.type),
        "timestamp_unixtime_ms": milliseconds(activity.occurred_at),
        "custom_attributes": _attributes(outgoing, activity, settings, late=age > OUTPUTS_TAKE),
    }
    events = [{"event_type": "custom_event", "data": data}] if person else []
    body = {
        "environment": settings.environment,
        "source_request_id": stable_id(*known_by),
        **person,
        "events": events,
    }
    return Batch(render_json(body), len(events), age > HISTORICAL_AFTER)


def _known_by(outgoing: Outgoing, activity: Activity) -> tuple[str, ...]:
    """What makes two tellings of it the same.

    Nobody joins twice: two tills whose loyalty system was asked to make the same person at the same time both tell.
    """
    if activity.type is ContactEvent.JOINED and outgoing.key is not None:
        return activity.type, outgoing.key.type, outgoing.key.value
    return _OF_AN_ACTIVITY, activity.activity_id


def _attributes(outgoing: Outgoing, activity: Activity, settings: MparticleSettings, *, late: bool) -> dict[str, str]:
    corrected = outgoing.corrected_at
    own = {
        "activity_id": activity.activity_id,
        "order_id": activity.order_id,
        "store_id": activity.store_id,
        "till_id": activity.till_id,
        "member": "true",
        "corrected_at": corrected.astimezone(UTC).isoformat(timespec="seconds") if corrected else None,
        "late": "true" if late else None,
    }
    bridge = render_bridge(outgoing) if settings.voucherify_bridge else {}
    told = {name: _text(value) for name, value in activity.attributes.items() if value is not None}
    return {**told, **bridge, **{name: value for name, value in own.items() if value is not None}}


def _text(value: str | int | bool) -> str:  # noqa: FBT001 - it is a value, not a switch
    return str(value).lower() if isinstance(value, bool) else str(value)
