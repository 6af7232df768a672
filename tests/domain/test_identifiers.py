"""Identifiers: told apart, checked and brought to one form."""

import re
from datetime import date

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain import phones
from agent.domain.identifiers import Identifier, IdentifierType, Normaliser
from agent.errors import IdentifierInvalidError

TODAY = date(2026, 11, 20)
SWEDEN = Normaliser("SE")
PHONE = IdentifierType.MOBILE_PHONE
EMAIL = IdentifierType.EMAIL
PERSONAL = IdentifierType.PERSONAL_NUMBER
GUID = "0f6c2c52-6b0e-4a0c-9c1e-3f1d6a2b7e10"


def normal(kind: IdentifierType, raw: str, normaliser: Normaliser = SWEDEN) -> str:
    identifier = normaliser.normalise(kind, raw, today=TODAY)
    assert identifier.type is kind
    return identifier.value


def refusal(kind: IdentifierType, raw: str, normaliser: Normaliser = SWEDEN) -> str:
    with pytest.raises(IdentifierInvalidError) as caught:
        normaliser.normalise(kind, raw, today=TODAY)
    return caught.value.reason


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("+46701740605", id="E.164"),
        pytest.param("070-174 06 05", id="as printed"),
        pytest.param("0701740605", id="digits alone"),
        pytest.param("+46 (0)70-174 06 05", id="trunk zero in brackets"),
        pytest.param("+460701740605", id="trunk zero left in"),
        pytest.param("0046701740605", id="double zero"),
        pytest.param("00 46 (0) 70 174 06 05", id="double zero and trunk zero"),
        pytest.param("46701740605", id="calling code without plus"),
        pytest.param("70 174 06 05", id="without its zero"),
        pytest.param("070.174.06.05", id="dots"),
        pytest.param("070/1740605", id="slash"),
        pytest.param("070\u00a0174\u00a006\u00a005", id="no-break spaces"),
        pytest.param("070\u2011174\u20110605", id="no-break hyphens"),
        pytest.param("\u202a+46 70 174 06 05\u202c", id="direction marks of an address book"),
        pytest.param("\u202d0046 70 174 06 05\u202c", id="direction marks before a double zero"),
        pytest.param("+46701740605 ", id="trailing blank, as in Voyado's own export"),
        pytest.param("(+46)701740605", id="calling code in brackets"),
        pytest.param("\t0701740605\r\n", id="white space around"),
    ],
)
def test_one_swedish_number_has_one_form(raw):
    """However a Swedish number is typed, the key is the same."""
    assert normal(PHONE, raw) == "+46701740605"


@pytest.mark.parametrize(
    ("country", "raw", "expected"),
    [
        pytest.param("SE", "+44 7911 123456", "+447911123456", id="British, dialled from Sweden"),
        pytest.param("SE", "+44 (0)7911 123456", "+447911123456", id="British trunk zero"),
        pytest.param("GB", "07911 123456", "+447911123456", id="British at home"),
        pytest.param("NO", "406 12 345", "+4740612345", id="Norwegian at home"),
        pytest.param("DK", "20 12 34 56", "+4520123456", id="Danish at home"),
        pytest.param("FI", "040 1234567", "+358401234567", id="Finnish at home"),
        pytest.param("SE", "+358 040 1234567", "+358401234567", id="Finnish trunk zero"),
        pytest.param("DE", "0151 23456789", "+4915123456789", id="German at home"),
        pytest.param("IT", "06 698 1234", "+39066981234", id="Italian zero belongs to the number"),
        pytest.param("US", "(202) 555-0143", "+12025550143", id="North American at home"),
        pytest.param("US", "011 46 70 174 06 05", "+46701740605", id="dialled out of North America"),
        pytest.param("RU", "8 (800) 123-45-67", "+78001234567", id="Russian eight twice"),
        pytest.param("SE", "+7 800 123 45 67", "+78001234567", id="an eight that is no trunk prefix"),
        pytest.param("SE", "+800 1234 5678", "+80012345678", id="a number of no country"),
    ],
)
def test_numbers_of_other_countries(country, raw, expected):
    """A national number is the store's country's, one with a calling code is its own country's."""
    assert normal(PHONE, raw, Normaliser(country)) == expected


@pytest.mark.parametrize(
    "raw",
    ["", "   ", "\u200b", "1", "123", "070", "abc", "070174O605", "+", "++46701740605", "070+1740605", "+999 1234567",
     "+46 70 174 06 05 06 07 08 09", "0701740605 ext 5", "0701740605;ext=5", "\u0660\u0661\u0662\u0663\u0664\u0665",
     "0" * 15, "+0701740605", "tel:0701740605", "070174060\x005", "x" * 255, "+4600000701740605"],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_phone_number(raw):
    """What cannot be a number is refused with the rule it breaks."""
    assert refusal(PHONE, raw)


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_looking_agrees_with_parsing(region):
    """Where a number is taken as it stands, or only its zero is exchanged, the full rules answer the same."""
    for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE):
        example = phonenumbers.example_number_for_type(region, kind)
        if example is None:
            continue
        e164 = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        national = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.NATIONAL)

        assert phones.to_e164(e164, "SE") == phones._parsed(e164, "SE") == e164
        assert phones.to_e164(national, region) == phones._parsed(national, region)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param("19900101-0017", "199001010017", id="twelve digits with hyphen"),
        pytest.param("199001010017", "199001010017", id="twelve digits"),
        pytest.param("900101-0017", "199001010017", id="ten digits with hyphen"),
        pytest.param("9001010017", "199001010017", id="ten digits"),
        pytest.param("900101\u20130017", "199001010017", id="a dash for the hyphen"),
        pytest.param(" 900101 - 0017 ", "199001010017", id="blanks"),
        pytest.param("900161-0014", "199001610014", id="co-ordination number"),
        pytest.param("250101-0017", "202501010017", id="a child of this century"),
        pytest.param("250101+0017", "192501010017", id="a plus: a hundred years more"),
        pytest.param("261231-0017", "192612310017", id="not born yet this year: last century"),
        pytest.param("261231+0017", "192612310017", id="a plus in the year of the hundredth birthday"),
        pytest.param("261120-0011", "202611200011", id="born today"),
        pytest.param("000229-0013", "200002290013", id="leap day of 2000"),
        pytest.param("131052-308T", "131052-308T", id="Finnish, 1900s"),
        pytest.param("131052-308t", "131052-308T", id="Finnish, lower case"),
        pytest.param("131052Y308T", "131052Y308T", id="Finnish, new sign of the 1900s"),
        pytest.param("131052U308T", "131052U308T", id="Finnish, last new sign of the 1900s"),
        pytest.param("010116A900L", "010116A900L", id="Finnish, 2000s"),
        pytest.param("010116F900L", "010116F900L", id="Finnish, last new sign of the 2000s"),
        pytest.param("131052+308T", "131052+308T", id="Finnish, 1800s"),
    ],
)
def test_personal_numbers(raw, expected):
    """Swedish numbers come out with twelve digits, Finnish codes in their own form."""
    assert normal(PERSONAL, raw) == expected


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param("900101-0018", "check digit", id="wrong check digit"),
        pytest.param("900229-0007", "does not exist", id="no leap day in 1990"),
        pytest.param("901301-0013", "does not exist", id="month 13"),
        pytest.param("900145-0014", "does not exist", id="day 45"),
        pytest.param("000000-0000", "does not exist", id="all zeros"),
        pytest.param("203001010017", "not come yet", id="born in 2030"),
        pytest.param("131052-308S", "check character", id="Finnish, wrong check character"),
        pytest.param("311152-308T", "does not exist", id="Finnish, no such day"),
        pytest.param("131052G308T", "not a personal number", id="Finnish, no such sign"),
        pytest.param("90010100", "not a personal number", id="too short"),
        pytest.param("\u0669\u0660\u0660\u0661\u0660\u06610017", "not a personal number", id="other digits"),
    ],
)
def test_what_is_no_personal_number(raw, reason):
    """Each rule of a personal number is checked, and named when it is broken."""
    assert reason in refusal(PERSONAL, raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param("Alma.Ekvall@Example.COM", "alma.ekvall@example.com", id="case"),
        pytest.param("  alma@example.com\n", "alma@example.com", id="white space around"),
        pytest.param("\ufeffalma@exam\u200bple.com", "alma@example.com", id="invisible characters"),
        pytest.param("alma+pos@example.com", "alma+pos@example.com", id="plus tag is kept"),
        pytest.param("o'brien@mail.example.com", "o'brien@mail.example.com", id="apostrophe"),
        pytest.param("alma@R\u00c4KSM\u00d6RG\u00c5S.example.com", "alma@xn--rksmrgs-5wao1o.example.com", id="IDN"),
        pytest.param("alma@ra\u0308ksmo\u0308rga\u030as.example.com", "alma@xn--rksmrgs-5wao1o.example.com",
                     id="IDN, decomposed"),
        pytest.param("alma@xn--rksmrgs-5wao1o.example.com", "alma@xn--rksmrgs-5wao1o.example.com", id="IDN in ASCII"),
        pytest.param("\u00c5sa@example.com", "\u00e5sa@example.com", id="a name beyond ASCII"),
        pytest.param("a\u030asa@example.com", "\u00e5sa@example.com", id="a name beyond ASCII, decomposed"),
    ],
)  # fmt: skip
def test_email(raw, expected):
    """An address is folded to lower case, composed, its domain in ASCII."""
    assert normal(EMAIL, raw) == expected


@pytest.mark.parametrize(
    "raw",
    ["alma", "@example.com", "alma@", "alma@example", "alma@@example.com", "al ma@example.com", "alma@example..com",
     "alma@-example.com", "alma@example.c", "<alma@example.com>", "alma@[127.0.0.1]", "alma@example.com,bo@example.com",
     '"alma"@example.com', "a" * 65 + "@example.com", "alma\x00@example.com", "alma@example.com/x",
     "alma\ud800@example.com",
     "alma@" + "\u00e4" * 64 + ".example.com"],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_email(raw):
    """What no mail could reach is refused."""
    assert refusal(EMAIL, raw)


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        pytest.param("contact_id", GUID.upper(), GUID, id="GUID in capitals"),
        pytest.param("contact_id", f" {GUID} ", GUID, id="GUID with blanks"),
        pytest.param("member_number", " 1000 0421 ", "10000421", id="member number in groups"),
        pytest.param("member_number", "00010421", "00010421", id="leading zeros count"),
        pytest.param("member_number", "1042-03-000017", "1042-03-000017", id="a till's own series"),
        pytest.param("card_number", "9752 0000-0000 1234", "9752000000001234", id="card in groups"),
        pytest.param("external_id", " EDGE 000421 ", "EDGE 000421", id="external id keeps its inside"),
    ],
)
def test_opaque_identifiers(kind, raw, expected):
    """What only a system can read is kept as it is, but for blanks and the case of a GUID."""
    assert normal(IdentifierType(kind), raw) == expected


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        pytest.param("contact_id", GUID.replace("-", ""), id="GUID without hyphens"),
        pytest.param("contact_id", GUID + "0", id="GUID too long"),
        pytest.param("contact_id", "../../admin", id="a path"),
        pytest.param("member_number", "1000?x=1", id="member number with a query"),
        pytest.param("member_number", "-1", id="member number beginning with a hyphen"),
        pytest.param("card_number", "123", id="card too short"),
        pytest.param("card_number", "1234_5678", id="card with an underscore"),
        pytest.param("external_id", "EDGE\x00421", id="external id with a NUL"),
        pytest.param("external_id", "EDGE\ud800", id="external id with half a character"),
    ],
)
def test_what_is_no_opaque_identifier(kind, raw):
    """What its type does not allow is refused."""
    assert refusal(IdentifierType(kind), raw)


def test_contact_ids_of_other_systems():
    """Where contact ids are no GUIDs, they are opaque and keep their case."""
    normaliser = Normaliser("SE", guid_contact_ids=False)

    assert normal(IdentifierType.CONTACT_ID, "cus_AbC123", normaliser) == "cus_AbC123"
    assert refusal(IdentifierType.CONTACT_ID, "a b", normaliser) == "is not a contact id"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(GUID.upper(), ["contact_id"], id="a GUID is nothing else"),
        pytest.param("Alma@Example.com", ["email"], id="an address is nothing else"),
        pytest.param("070-174 06 05", ["mobile_phone", "member_number", "card_number", "external_id"], id="a phone"),
        pytest.param("10000421", ["member_number", "card_number", "external_id"], id="a member number is no phone"),
        pytest.param("31123456", ["mobile_phone", "member_number", "card_number", "external_id"],
                     id="a member number that is a phone, too"),
        pytest.param("19900101-0017", ["personal_number", "member_number", "card_number", "external_id"],
                     id="a personal number"),
        pytest.param("900101-0017", ["personal_number", "mobile_phone", "member_number", "card_number", "external_id"],
                     id="a personal number that is a phone, too"),
        pytest.param("EDGE 000421", ["member_number", "card_number", "external_id"], id="an own series"),
        pytest.param("#17", ["external_id"], id="nothing in particular"),
    ],
)  # fmt: skip
def test_readings(raw, expected):
    """A value is everything it can be, surest first."""
    assert [reading.type.value for reading in SWEDEN.readings(raw, today=TODAY)] == expected


def test_readings_are_normalised():
    """Each reading is in its one form."""
    readings = SWEDEN.readings("070-174 06 05", today=TODAY)

    assert Identifier(PHONE, "+46701740605") in readings


@pytest.mark.parametrize("raw", ["", "  ", "\x00", "x" * 255, "\ud800"], ids=ascii)
def test_what_can_be_nothing(raw):
    """A value without any reading is refused."""
    with pytest.raises(IdentifierInvalidError):
        SWEDEN.readings(raw, today=TODAY)


def test_values_never_show():
    """Neither a repr nor an error repeats what was said."""
    assert "0605" not in repr(SWEDEN.normalise(PHONE, "0701740605", today=TODAY))
    with pytest.raises(IdentifierInvalidError) as caught:
        SWEDEN.normalise(PERSONAL, "900101-0018", today=TODAY)
    assert "0018" not in f"{caught.value!r} {caught.value} {caught.value.faults}"
    assert caught.value.at("/x").faults[0].pointer == "/x"


TYPED = st.one_of(
    st.text(max_size=40),
    st.text("0123456789+-() ./", min_size=3, max_size=24),
    st.from_regex(r"\+(46|47|39|7|44|1)0{0,3}[0-9]{5,12}", fullmatch=True),
    st.from_regex(r"[0-9]{6}[-+A]?[0-9]{3}[0-9A-Y]", fullmatch=True),
    st.emails(),
    st.builds("{}@{}.{}".format, st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8), st.text(max_size=5)),
)
COUNTRIES = st.sampled_from(["SE", "NO", "DK", "FI", "DE", "IT", "US", "RU", "BR", "GB", "XX"])


@given(kind=st.sampled_from(list(IdentifierType)), raw=TYPED, country=COUNTRIES, guids=st.booleans())
def test_normalising_is_idempotent_and_fails_in_one_way(kind, raw, country, guids):
    """Whatever is typed: one form that stays as it is and can be stored and hashed, or one kind of error."""
    normaliser = Normaliser(country, guid_contact_ids=guids)
    try:
        first = normaliser.normalise(kind, raw, today=TODAY)
    except IdentifierInvalidError as error:
        said = str(error.faults)
    else:
        assert first.value.encode()
        assert 0 < len(first.value) <= 254
        assert normaliser.normalise(kind, first.value, today=TODAY) == first
        said = repr(first)
    assert not any(digits in said for digits in re.findall(r"\d{4,}", raw))


@given(raw=TYPED, country=COUNTRIES)
def test_readings_agree_with_normalising(raw, country):
    """Each reading is what normalising as its type answers."""
    normaliser = Normaliser(country)
    try:
        readings = normaliser.readings(raw, today=TODAY)
    except IdentifierInvalidError:
        return
    assert readings
    for reading in readings:
        assert normaliser.normalise(reading.type, raw, today=TODAY) == reading
