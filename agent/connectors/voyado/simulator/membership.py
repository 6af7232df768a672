"""A made-up membership of any size, in which nobody real can be found.

Names and streets are invented, mail is at example.com, the personal number stays empty. Phone numbers
come, in this order, from:

1. +46701740605 to +46701740699: the mobile numbers the Swedish regulator keeps free for books and films, for the first
   95 people;
2. +1 NPA 555 0100 to 0199: the lines the North American numbering plan keeps free for fiction in every area code;
3. +1 NPA 959 XXXX: the office code the plan keeps for the carriers' own plant tests in every area code, given to no
   subscriber.

Number libraries take all of them for valid. A longer Swedish range would not do: every other Swedish mobile number that
is valid may have an owner.
"""

import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from agent.connectors.voyado.simulator.records import Contact
from agent.connectors.voyado.simulator.state import State

_AREA_CODES = (
    "201202203205206207208209210212213214215216217218219220223224225227228229231234235239240248251252253254256260262267"
    "269270272274276279281283301302303304305307308309310312313314315316317318319320321323324325326327329330331332334336"
    "337339341346347350351352353360361363364369380385386401402404405406407408409410412413414415417419423424425430432434"
    "435440442443445447448458463464469470472475478479480484501502503504505507508509510512513515516517518520530531534539"
    "540541551557559561562563564567570571572573574575580582585586601602603605606607608609610612614615616617618619620623"
    "626628629630631636640641645646650651656657659660661662667669678680681682689701702703704706707708712713714715716717"
    "718719720724725726727728730731732734737740743747754757760762763765769770771772773774775779781785786801802803804805"
    "806808810812813814815816817818820826828830831832835838839840843845847848850854856857858859860862863864865870872878"
)
_NPAS = tuple(_AREA_CODES[at : at + 3] for at in range(0, len(_AREA_CODES), 3))
_SWEDISH_FICTION = 95
_FICTION_LINES = 100
_TEST_LINES = 10_000
MOST_PEOPLE = _SWEDISH_FICTION + len(_NPAS) * (_FICTION_LINES + _TEST_LINES)

_FIRST_NAMES = (
    ("Alma", "Female"), ("Bo", "Male"), ("Cissi", "Female"), ("Dag", "Male"), ("Elin", "Female"), ("Folke", "Male"),
    ("Greta", "Female"), ("Hjalmar", "Male"), ("Iris", "Female"), ("Jöns", "Male"), ("Kajsa", "Female"),
    ("Love", "Other"),
    ("Märta", "Female"), ("Nils", "Male"), ("Olga", "Female"), ("Pär", "Male"), ("Runa", "Female"), ("Sixten", "Male"),
    ("Tyra", "Female"), ("Ulf", "Male"), ("Vega", "Female"), ("Yngve", "Male"), ("Åsa", "Female"), ("Örjan", "Male"),
)  # fmt: skip
_LAST_NAMES = (
    "Ekvall", "Granlund", "Lindmo", "Furudal", "Sjövik", "Åkerholm", "Björkhed", "Älvstrand", "Hagbo", "Ödmark",
    "Rönnås", "Tallmyr", "Stenhav", "Vidfors", "Norrtorp", "Kvarnlid",
)  # fmt: skip
_MAILBOX = {
    name: unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    for name in (*(first for first, _ in _FIRST_NAMES), *_LAST_NAMES)
}
_STREETS = ("Exempelgatan", "Provvägen", "Mönsterstigen", "Påhittsgränd")
_NO_EMAIL, _NO_PHONE, _SHARED_PHONE, _TWIN, _SECRECY = 0.03, 0.08, 0.015, 0.02, 0.0005
_ACCEPTS_EMAIL, _ACCEPTS_SMS = 0.60, 0.35
_NEARBY = 50  # a shared phone belongs to somebody this near in the list, so that few share one
_YEARS = timedelta(days=3 * 365)


def fictional_phone(place: int) -> str:
    """The `place`-th number that belongs to nobody, in E.164.

    Raises:
        ValueError: There are only `MOST_PEOPLE` of them.
    """
    if place < _SWEDISH_FICTION:
        return f"+46{701740605 + place}"
    place -= _SWEDISH_FICTION
    if place < len(_NPAS) * _FICTION_LINES:
        npa, line = divmod(place, _FICTION_LINES)
        return f"+1{_NPAS[npa]}55501{line:02d}"
    npa, line = divmod(place - len(_NPAS) * _FICTION_LINES, _TEST_LINES)
    if npa >= len(_NPAS):
        raise ValueError(f"there are only {MOST_PEOPLE} numbers that belong to nobody")
    return f"+1{_NPAS[npa]}959{line:04d}"


def people(state: State, count: int) -> Iterator[Contact]:
    """`count` members, and for 2 % of them a second record of type Contact with the same e-mail address.

    3 % have no e-mail, 8 % no phone (never both), 1.5 % of the others share the phone of somebody shortly before
    them (nobody the very first's), 0.05 % live under protected identity. They joined, evenly spread, in the three years
    before now.
    """
    rng = state.rng
    stores: Sequence[str] = tuple(state.stores) or ("1042",)
    joined_at = state.clock.now() - _YEARS
    step = _YEARS / (count + 1)
    first_place = len(state.contacts)
    recent_phones: deque[str] = deque(maxlen=_NEARBY)
    for place in range(first_place, first_place + count):
        joined_at += step
        member = _member(state, place, joined_at, stores, recent_phones)
        if "mobilePhone" in member.attributes:
            recent_phones.append(member.attributes["mobilePhone"])
        yield member
        if rng.random() < _TWIN and "email" in member.attributes:
            yield Contact(
                contact_id=state.new_id(),
                contact_type="Contact",
                attributes={
                    name: member.attributes[name] for name in ("firstName", "lastName", "email", "countryCode")
                },
                preferences=dict.fromkeys(("acceptsEmail", "acceptsSms", "acceptsPostal"), False),
                consents=[],
                source="ECOM",
                created_at=joined_at,
                modified_at=joined_at,
            )


def _member(
    state: State,
    place: int,
    joined_at: datetime,
    stores: Sequence[str],
    recent_phones: Sequence[str],
) -> Contact:
    rng = state.rng
    first, gender = rng.choice(_FIRST_NAMES)
    last = rng.choice(_LAST_NAMES)
    store = rng.choice(stores)
    number = state.take_member_number()
    attributes: dict[str, Any] = {
        "firstName": first,
        "lastName": last,
        "memberNumber": number,
        "street": f"{rng.choice(_STREETS)} {rng.randrange(1, 100)}",
        "zipCode": "123 45",
        "city": "Exempelstad",
        "countryCode": "SE",
        "birthDay": date.fromordinal(rng.randrange(711_858, 733_042)).isoformat(),  # 1950 to 2007
        "gender": gender,
        "createdInStore": store,
        "store": store,
    }
    chance = rng.random()
    if chance >= _NO_EMAIL:
        attributes["email"] = f"{_MAILBOX[first]}.{_MAILBOX[last]}.{number}@example.com"
    if chance < 1 - _NO_PHONE:
        shared = recent_phones and rng.random() < _SHARED_PHONE
        phone = rng.choice(recent_phones) if shared else fictional_phone(place)
        # The number that the documents' examples give is one person's: who tries them meets no second one.
        attributes["mobilePhone"] = fictional_phone(place) if phone == fictional_phone(0) else phone
    if rng.random() < _SECRECY:
        attributes["secrecyMarked"] = True
    return Contact(
        contact_id=state.new_id(),
        contact_type="Member",
        attributes=attributes,
        preferences={
            "acceptsEmail": rng.random() < _ACCEPTS_EMAIL,
            "acceptsSms": rng.random() < _ACCEPTS_SMS,
            "acceptsPostal": False,
        },
        consents=[
            {"id": "memberTerms", "value": True, "date": joined_at.isoformat(), "source": "POS", "comment": None}
        ],
        source="POS",
        created_at=joined_at,
        modified_at=joined_at,
    )
