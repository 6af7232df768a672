"""All values as one checked configuration, or every fault at once, each with its file and key."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from agent import messages, paths
from agent.errors import ConfigurationError, Fault
from agent.secrets import SecretReference
from agent.settings.layers import collect, prefixes
from agent.settings.sections import FORWARD, HttpSection, Role, Section, Settings, VendorSection
from agent.settings.spellings import UNIX, is_reference
from agent.tls import client_context

M = TypeVar("M", bound=BaseModel)
KNOWN_VENDORS = ("voyado", "antavo", "voucherify", "monetary", "mparticle")


@dataclass(frozen=True, slots=True)
class Configuration:
    """A checked configuration.

    Attributes:
        settings: the agent's own tables.
        vendor: the loyalty vendor's table, a model of its room.
        forwards: the tables of the further systems, by vendor, in the order of the file.
        origins: where each key's value came from, by dotted path; what is not in it is a default.
        base: the directory that relative references start from.
        state_dir: the state directory, decided.
        runtime_dir: where a socket lies that is named without a directory.
    """

    settings: Settings
    vendor: VendorSection
    forwards: Mapping[str, VendorSection]
    origins: Mapping[str, str]
    base: Path
    state_dir: Path
    runtime_dir: Path

    def vendor_tables(self) -> Iterator[tuple[str, str, VendorSection]]:
        """Each system's name, where its table stands, and the table; the loyalty system's first."""
        name = self.settings.loyalty.vendor
        yield name, name, self.vendor
        for name, table in self.forwards.items():
            yield name, f"{FORWARD}.{name}", table

    @property
    def listen(self) -> tuple[str, ...]:
        """`api.listen`, each socket with its directory."""
        return tuple(
            f"{UNIX}{self.runtime_dir / place.removeprefix(UNIX)}" if place.startswith(UNIX) else place
            for place in self.settings.api.listen
        )

    def secret(self, text: str) -> SecretReference:
        """The reference that a checked setting spells."""
        return SecretReference.parse(text, self.base)


@dataclass(frozen=True, slots=True)
class _Table:
    """A vendor's table as it was found: where it stands, and what of it is sound."""

    path: str
    role: Role
    model: VendorSection


def load(
    *,
    config: Path | None,
    vendors: Mapping[str, type[VendorSection]],
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    secrets: bool = True,
) -> Configuration:
    """The configuration of this machine.

    Args:
        config: the file named on the command line, or None for the machine's own place.
        vendors: the settings model of each vendor room.
        flags: values from the command line, by dotted path.
        environ: the environment; `os.environ` if None.
        secrets: whether each referenced secret must be readable.

    Raises:
        ConfigurationError: with every fault, each with its file and key path.
    """
    file = config or paths.config_dir() / "config.toml"
    values, origins, faults = collect(file, os.environ if environ is None else environ, flags or {})

    def fault(key: str, text: str) -> Fault:
        place = next((origins[known] for known in prefixes(key) if known in origins), str(file))
        return Fault(f"{place}: {key}", text)

    beside = {name: values.pop(name) for name in list(values) if name in vendors}
    further = values.pop(FORWARD, {})
    settings, found = _parse(Settings, values)
    name = settings.loyalty.vendor
    loyalty, of_loyalty = _loyalty_table(name, beside.pop(name, {}), vendors)
    forwards, of_forwards = _forward_tables(further, name, vendors)
    found += of_loyalty + of_forwards
    tables = [*([loyalty] if loyalty else []), *forwards.values()]
    # From here on a key that is at fault has its default: whatever is said about it would be said of that.
    broken = {prefix for key, _ in found for prefix in prefixes(key)}
    found += [(key, text) for key, others, text in contradictions(settings) if not broken & {key, *others}]
    base = file.parent.resolve()
    unreadable: list[tuple[str, str]] = []
    if secrets and not settings.storage.key.startswith("file:"):  # that one is made
        unreadable += [(f"storage.{key}", text) for key, text in _secret_faults(settings.storage, base)]
    unreadable += [(item.pointer, item.message) for item in _ca_faults(settings.http, base)]
    if secrets:
        unreadable += [(f"http.{key}", text) for key, text in _secret_faults(settings.http, base)]
    for table in tables:
        if "loyalty" not in broken:  # which the rooms' own rules read
            said = table.model.contradictions(settings, table.role)
            unreadable += [(f"{table.path}.{item.pointer}", item.message) for item in said]
            if table.role == "loyalty":
                asked = table.model.cannot_own(settings)
                unreadable += [(item.pointer, item.message) for item in asked]
        if secrets:
            unused = table.model.unused_secrets(table.role)
            unreadable += [(f"{table.path}.{key}", text) for key, text in _secret_faults(table.model, base, unused)]
    found += [(key, text) for key, text in unreadable if key not in broken]
    found += _text_faults(values.get("messages"))
    found += [(other, _out_of_place(other, vendors[other])) for other in beside]
    if faults:  # what is missing may stand in the file that could not be read
        found = [(key, text) for key, text in found if key in origins]
    faults += [fault(key, text) for key, text in found]
    if faults or loyalty is None:
        raise ConfigurationError(faults)
    configured = settings.agent.state_dir
    return Configuration(
        settings,
        loyalty.model,
        {vendor: table.model for vendor, table in forwards.items()},
        origins,
        base,
        paths.state_dir(configured),
        paths.runtime_dir(configured),
    )


def _loyalty_table(
    name: str, values: Any, vendors: Mapping[str, type[VendorSection]]
) -> tuple[_Table | None, list[tuple[str, str]]]:
    """The table of the system that owns the contacts, and its faults."""
    able = [vendor for vendor, model in vendors.items() if not model.not_loyalty]
    if name not in vendors:
        return None, [("loyalty.vendor", _unknown(name, able))]
    if reason := vendors[name].not_loyalty:
        return None, [("loyalty.vendor", f"{reason}; available: {', '.join(sorted(able))}")]
    model, found = _parse(vendors[name], values)
    return _Table(name, "loyalty", model), [(f"{name}.{key}" if key else name, text) for key, text in found]


def _forward_tables(
    values: Any, loyalty: str, vendors: Mapping[str, type[VendorSection]]
) -> tuple[dict[str, _Table], list[tuple[str, str]]]:
    """The tables of the further systems by vendor, and their faults."""
    if not isinstance(values, dict):
        return {}, [(FORWARD, "is not a table: a further system has its own, such as [forward.mparticle]")]
    able = [vendor for vendor, model in vendors.items() if not model.not_forward]
    tables, found = {}, []
    for name, table in values.items():
        path = f"{FORWARD}.{name}"
        if name not in vendors:
            found.append((path, _unknown(name, able)))
            continue
        if reason := vendors[name].not_forward:
            found.append((path, reason))
            continue
        if name == loyalty:
            found.append((path, "is loyalty.vendor, which gets every sale already"))
        model, of_table = _parse(vendors[name], table)
        tables[name] = _Table(path, "forward", model)
        found += [(f"{path}.{key}" if key else path, text) for key, text in of_table]
    return tables, found


def _unknown(name: str, able: Sequence[str]) -> str:
    known = "is not available in this version" if name in KNOWN_VENDORS else "is not a vendor"
    return f"{known}; available: {', '.join(sorted(able)) or 'none'}"


def _out_of_place(name: str, model: type[VendorSection]) -> str:
    text = "is set, but loyalty.vendor is another system"
    return text if model.not_forward else f"{text}; as a further one its table is [{FORWARD}.{name}]"


def contradictions(settings: Settings) -> list[tuple[str, tuple[str, ...], str]]:
    """What the agent's own tables say against each other, as (key, the other keys it is held against, text)."""
    loyalty, replica, queue, retention = settings.loyalty, settings.replica, settings.queue, settings.retention
    secondary, listen, http = loyalty.secondary_keys, settings.api.listen, settings.http
    rules = (
        (bool(replica.fields) and replica.contents == "keys", "replica.fields", ("replica.contents",),
         'needs replica.contents = "contacts"'),
        (loyalty.primary_key in secondary, "loyalty.secondary_keys", ("loyalty.primary_key",), "names the primary key"),
        (len(set(secondary)) != len(secondary), "loyalty.secondary_keys", (), "names a key twice"),
        (queue.backoff_first > queue.backoff_max, "queue.backoff_first", ("queue.backoff_max",),
         "is longer than queue.backoff_max"),
        (queue.reserve_bytes >= queue.max_bytes, "queue.reserve_bytes", ("queue.max_bytes",),
         "is not less than queue.max_bytes"),
        (replica.stale_after > replica.expires_after, "replica.stale_after", ("replica.expires_after",),
         "is longer than replica.expires_after"),
        (retention.delivered > retention.undelivered, "retention.delivered", ("retention.undelivered",),
         "is longer than retention.undelivered"),
        (retention.undelivered > retention.audit, "retention.undelivered", ("retention.audit",),
         "is longer than retention.audit"),
        (len(set(listen)) != len(listen), "api.listen", (), "names an address twice"),
        (bool(settings.api.socket_users) and not any(place.startswith("unix:") for place in listen),
         "api.socket_users", ("api.listen",), "needs a unix: address in api.listen"),
        (len({offer.id for offer in settings.benefits.general}) != len(settings.benefits.general),
         "benefits.general", (), "names an id twice"),
        (len({offer.id for offer in settings.benefits.welcome}) != len(settings.benefits.welcome),
         "benefits.welcome", (), "names an id twice"),
        (http.proxy_secret is not None and not http.proxy, "http.proxy_secret", ("http.proxy",),
         "is set, but http.proxy is not"),
    )  # fmt: skip
    return [(key, others, text) for contradicts, key, others, text in rules if contradicts]


def _text_faults(table: Any) -> list[tuple[str, str]]:
    """What is wrong with the texts of `[messages]` that are texts, each by its key."""
    found = []
    texts = {key: text for key, text in table.items() if isinstance(text, str)} if isinstance(table, dict) else {}
    for line in messages.check_overrides(texts):  # messages."code.audience.locale": what is wrong
        key, _, text = line.partition('": ')
        found.append((f'{key}"', text))
    return found


def _ca_faults(http: HttpSection, base: Path) -> list[Fault]:
    if http.ca_file:
        try:
            client_context(str(base / http.ca_file))
        except ConfigurationError as error:
            return list(error.faults)
    return []


def secret_keys(section: Section) -> dict[str, str]:
    """The references in a table, by key; empty ones are left out."""
    found = {}
    for key, field in type(section).model_fields.items():
        if is_reference(field) and getattr(section, key):
            found[key] = getattr(section, key)
    return found


def _secret_faults(section: Section, base: Path, unused: Collection[str] = ()) -> list[tuple[str, str]]:
    found = []
    for key, text in secret_keys(section).items():
        if key in unused:
            continue
        try:
            SecretReference.parse(text, base).read()
        except ValueError as error:
            found.append((key, str(error)))
    return found


def _parse(model: type[M], values: Any) -> tuple[M, list[tuple[str, str]]]:
    """The table and its faults, as (key, text); with faults, what is sound of it, so that the rest can be judged."""
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        inner = {item["loc"][:length] for item in found for length in range(len(item["loc"]))}
        # "Too short" of a list whose only item is at fault would be a second fault for one mistake.
        faults = [(".".join(map(str, item["loc"])), _text(item)) for item in found if item["loc"] not in inner]
        return _sound(model, values), faults


def _sound(model: type[M], values: Any) -> M:
    """A table in which each key that is at fault has its default, and one that has none is None."""
    given = values if isinstance(values, dict) else {}
    sound: dict[str, Any] = {}
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            sound[key] = _sound(field.annotation, given.get(key))
            continue
        sound[key] = None if field.is_required() else field.get_default(call_default_factory=True)
        if key in given:
            with contextlib.suppress(ValidationError):
                annotation: Any = Annotated[field.annotation, field]
                sound[key] = TypeAdapter(annotation).validate_python(given[key])
    return model.model_construct(**sound)


_SHAPES = {
    "tuple_type": 'is not a list, such as ["a", "b"], which is spelled so in the environment too',
    "too_short": "needs at least one item",
    "model_type": "is not a table",
    "model_attributes_type": "is not a table",
    "dict_type": "is not a table",
}


def _text(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "is not a setting"
    if item["type"] == "missing":
        return "is needed"
    if item["type"] in _SHAPES:
        return _SHAPES[item["type"]]
    text = str(item["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
