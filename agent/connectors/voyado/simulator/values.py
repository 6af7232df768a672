"""The values of a contact as a request carries them: which are taken, and how Engage stores them."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from agent.connectors.voyado.simulator.formats import is_email, is_personal_number, normalise_phone
from agent.connectors.voyado.simulator.records import KEY_FIELDS, PREFERENCES
from agent.connectors.voyado.simulator.state import State

_GENDERS = ("male", "female", "other")
_COUNTRY_LETTERS = 2


def has_format(state: State, name: str, value: str) -> bool:
    """Whether a value has the form that a key field asks for."""
    if name == "email":
        return is_email(value)
    if name == "mobilePhone":
        return normalise_phone(value, state.settings.calling_code) is not None
    if name == "socialSecurityNumber":
        return is_personal_number(value)
    return bool(value.strip())


def flatten(body: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes and preferences of a request body on one level."""
    preferences = body.get("preferences")
    nested = preferences if isinstance(preferences, dict) else {}
    rest = {name: value for name, value in body.items() if name not in {"preferences", "consents", "contactType"}}
    return {**rest, **{name: nested[name] for name in PREFERENCES if name in nested}}


def normalise(state: State, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as Engage stores them: phones in E.164, text without blanks around it."""
    stored = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
    if stored.get("mobilePhone"):
        stored["mobilePhone"] = normalise_phone(stored["mobilePhone"], state.settings.calling_code)
    return stored


def find_errors(state: State, values: Mapping[str, Any], consents: Any = None) -> list[str]:
    """One text for each value Engage would not take; empty values are fine."""
    errors = []
    for name, value in values.items():
        if value in (None, ""):
            continue
        if name in PREFERENCES:
            fits = isinstance(value, bool)
        elif name in KEY_FIELDS:
            fits = isinstance(value, str) and has_format(state, name, value)
        elif name == "birthDay":
            fits = isinstance(value, str) and _is_date(value)
        elif name == "gender":
            fits = isinstance(value, str) and value.lower() in _GENDERS
        elif name == "countryCode":
            fits = isinstance(value, str) and len(value) == _COUNTRY_LETTERS and value.isalpha()
        else:
            fits = not isinstance(value, (list, dict))
        if not fits:
            errors.append(f"{name}: not valid")
    known = {consent["id"] for consent in state.consents}
    if consents is not None and not (
        isinstance(consents, list)
        and all(
            isinstance(row, dict) and row.get("id") in known and isinstance(row.get("value"), bool) for row in consents
        )
    ):
        errors.append("consents: each with a known id and true or false")
    return errors


def _is_date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True
