"""What a screen shows of the agent's state: to staff a light, what works and what to say; to customers sentences.

Both are decided here once, so that the pages only draw, and a POS that has screens of its own shows the same.
A customer reads texts that are for customers, and of those only what is true of everybody: nobody is recognised here.
"""

from typing import Final

from agent.api.schemas_state import CustomerAnswer, SignAnswer
from agent.domain.fallback import TAG_LEVEL
from agent.messages import Messages
from agent.services.status import Snapshot

_LIGHTS: Final = {"online": "green", "degraded": "amber", "offline": "red"}
_UNKEPT: Final = "storage.full"
"""What customers are told while no sale can be kept, whatever the reason: it says no more than that."""


def of_staff(now: Snapshot, texts: Messages, locale: str, *, ready: bool) -> SignAnswer:
    """The sign for staff.

    Args:
        now: the state.
        texts: what the agent says.
        locale: in which language.
        ready: whether a sale can be put on disk.
    """
    page = texts.page(locale)
    if _keeps_nothing(now, ready=ready):
        return SignAnswer(
            light="red",
            headline=page["state.unkept.title"],
            works=page["state.unkept.works"],
            tell=_to_customers((_UNKEPT,), texts, locale)[0],
        )
    words = "state.online" if _as_usual(now) else f"level.{now.level}"
    return SignAnswer.model_validate(
        {
            "light": _LIGHTS[now.state],
            "headline": page[f"state.{now.state}.title"],
            "works": page[f"{words}.works"],
            "tell": page[f"{words}.tell"],
        }
    )


def of_customers(now: Snapshot, texts: Messages, locale: str, *, ready: bool, welcome: str) -> CustomerAnswer:
    """The sign for customers: a welcome, unless something concerns them.

    Args:
        now: the state.
        texts: what the agent says.
        locale: in which language.
        ready: whether a sale can be put on disk.
        welcome: the shop's own; empty for one in the language.
    """
    codes: tuple[str, ...] = ()
    if _keeps_nothing(now, ready=ready):
        codes = (_UNKEPT,)
    elif not _as_usual(now):
        said = "loyalty.points_later" if now.level >= TAG_LEVEL else "loyalty.unavailable"
        codes = (said, *(code for code in now.codes if code == "loyalty.general_offers"))
    return CustomerAnswer(
        locale=locale,
        welcome=welcome or texts.page(locale)["customer.welcome"],
        sentences=_to_customers(codes, texts, locale),
    )


def _keeps_nothing(now: Snapshot, *, ready: bool) -> bool:
    return not ready or any(condition.code == "storage.full" for condition in now.conditions)


def _as_usual(now: Snapshot) -> bool:
    """Members and points work: what else is wrong, at a further system or in the queue, changes nothing at the till."""
    return now.vendors[0].state == "online"


def _to_customers(codes: tuple[str, ...], texts: Messages, locale: str) -> tuple[str, ...]:
    return tuple(said.text for said in texts.render(codes, locale) if said.audience == "customer")
