"""The texts are complete in every language, and the right one is served."""

import re
import time
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigurationError
from agent.messages import (
    CONDITION_CODES,
    LANGUAGES,
    MESSAGE_CODES,
    MessageOverrideError,
    Messages,
    check_overrides,
)

TRANSLATIONS = [language for language in LANGUAGES if language != "en"]
STAFF_ONLY = {
    "loyalty.stale",
    "loyalty.ambiguous",
    "loyalty.benefit.allowed_offline",
    "loyalty.points_unavailable",
}
DOCS = Path(__file__).parents[1] / "docs" / "messages.md"
TAGGED = "loyalty.offline.tagged"


def read(language):
    text = (files("agent") / "texts" / f"{language}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def flatten(tree):
    """Every text of a language by its key path; the section's codes hold dots of their own."""
    flat = {}
    for section in ("message", "condition"):
        for code, texts in tree[section].items():
            flat |= {(section, code, part): text for part, text in texts.items()}
    return flat | {("page", key): text for key, text in tree["page"].items()}


TEXTS = {language: flatten(read(language)) for language in LANGUAGES}


def is_sentence(key):
    """Whether a text is read as sentences; the others are titles and labels."""
    if key[0] == "page":
        return key[1].startswith(("state.", "level.")) and key[1].endswith((".works", ".tell"))
    return key[-1] != "title"


def customer_text(messages, locale=None):
    (text,) = [m.text for m in messages.render([TAGGED], locale) if m.audience == "customer"]
    return text


class TestTexts:
    @pytest.mark.parametrize("language", LANGUAGES)
    def test_same_keys_in_every_language(self, language):
        """A language has exactly the sections and keys that English has: none missing, none left over."""
        assert set(read(language)) == {"message", "condition", "page"}
        assert TEXTS[language].keys() == TEXTS["en"].keys()

    def test_a_file_for_each_language(self):
        """The files shipped are the languages served."""
        shipped = {entry.name for entry in (files("agent") / "texts").iterdir() if entry.name.endswith(".toml")}
        assert shipped == {f"{language}.toml" for language in LANGUAGES}

    def test_published_codes_have_their_texts(self):
        """The files hold the published codes and no others, for the audiences that hear them."""
        english = read("en")
        assert set(english["message"]) == set(MESSAGE_CODES)
        assert set(english["condition"]) == set(CONDITION_CODES)
        assert {code for code, texts in english["message"].items() if "customer" not in texts} == STAFF_ONLY
        assert all(set(texts) <= {"staff", "customer"} for texts in english["message"].values())
        assert all(set(texts) == {"title", "detail", "remedy"} for texts in english["condition"].values())

    def test_codes_are_those_of_the_contract(self):
        """The published codes stand in the order of the till's API, so nobody drops one unnoticed."""
        assert MESSAGE_CODES == (
            "loyalty.unavailable",
            "loyalty.offline.tagged",
            "loyalty.offline.untagged",
            "loyalty.offline.replica",
            "loyalty.stale",
            "loyalty.not_found",
            "loyalty.unknown",
            "loyalty.ambiguous",
            "loyalty.general_offers",
            "loyalty.benefit.refused_offline",
            "loyalty.benefit.allowed_offline",
            "loyalty.enrolled_offline",
            "loyalty.points_later",
            "loyalty.points_estimated",
            "loyalty.points_unavailable",
            "storage.full",
        )
        assert len(CONDITION_CODES) == len(set(CONDITION_CODES)) == 22

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_texts_are_clean(self, language):
        """A text is one trimmed line without placeholders, markup or long dashes, and short enough for a display."""
        for key, text in TEXTS[language].items():
            assert text, key
            assert text == text.strip(), key
            assert text.isprintable(), key
            assert "  " not in text, key
            assert not set(text) & set("{}<>%`_\u2013\u2014"), key
            assert text[0].isupper(), key
            assert len(text) <= 260, key
            if is_sentence(key):
                assert text[-1] in ".!", key
            else:
                assert text[-1] not in ":;,?", key

    @pytest.mark.parametrize("language", TRANSLATIONS)
    def test_translated_from_english(self, language):
        """No text was left in English, not even a label."""
        assert {key for key, text in TEXTS[language].items() if text == TEXTS["en"][key]} == set()

    def test_sentences_differ_between_all_languages(self):
        """No message or condition reads the same in two languages, near as Norwegian and Danish are."""
        for key in TEXTS["en"]:
            if is_sentence(key):
                texts = [TEXTS[language][key] for language in LANGUAGES]
                assert len(set(texts)) == len(LANGUAGES), key

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_codes_are_told_apart(self, language):
        """No two codes say the same to the same audience."""
        for part in ("staff", "customer", "title", "detail", "remedy"):
            texts = [text for key, text in TEXTS[language].items() if key[-1] == part]
            assert len(texts) == len(set(texts))

    @pytest.mark.parametrize("language", TRANSLATIONS)
    def test_commands_survive_translation(self, language):
        """A command that a remedy names is the same in every language."""
        command = re.compile(r"\(loyalty-agent [a-z -]+\)")
        for key, text in TEXTS["en"].items():
            assert command.findall(TEXTS[language][key]) == command.findall(text), key

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_customers_hear_no_machinery(self, language):
        """A customer text speaks of the membership and the purchase, not of servers, queues or IT."""
        machinery = re.compile(r"\b(IT|API|offline|server|agent|error|fel|Fehler|virhe|feil|fejl)\b", re.IGNORECASE)
        found = {}
        for key, text in TEXTS[language].items():
            # In English "it" is a word of its own.
            words = {word for word in machinery.findall(text) if word.lower() != "it" or word == "IT"}
            if key[-1] == "customer" and words:
                found[key] = words
        assert not found

    @pytest.mark.parametrize(
        ("language", "wrong"),
        [
            pytest.param("sv", r"\b(ni|er|ert|era)\b", id="swedish-du"),
            pytest.param("nb", r"\b(De|Dem|Deres)\b(?<!^De)(?<!\. De)", id="norwegian-du"),
            pytest.param("da", r"\b(De|Dem|Deres)\b(?<!^De)(?<!\. De)", id="danish-du"),
            pytest.param("de", r"\b([Dd]u|[Dd]ich|[Dd]ir|[Dd]ein\w*)\b", id="german-sie"),
            pytest.param("fi", r"\b(Te|te|Teidän|teidän|Teille)\b", id="finnish-sina"),
        ],
    )
    def test_form_of_address(self, language, wrong):
        """Each language keeps to one form of address."""
        assert {key: text for key, text in TEXTS[language].items() if re.search(wrong, text)} == {}


class TestRender:
    def test_each_audience_in_order(self):
        """A code gives its text for staff and then for customers, and codes keep the order they came in."""
        rendered = Messages("sv-SE").render(["loyalty.points_later", "loyalty.stale", TAGGED])
        assert [(m.code, m.audience, m.severity) for m in rendered] == [
            ("loyalty.points_later", "staff", "info"),
            ("loyalty.points_later", "customer", "info"),
            ("loyalty.stale", "staff", "warning"),
            (TAGGED, "staff", "info"),
            (TAGGED, "customer", "info"),
        ]
        assert {m.locale for m in rendered} == {"sv-SE"}

    def test_published_shape(self):
        """A message is published with exactly the fields of the till's API."""
        message = Messages("sv-SE").render([TAGGED])[1]
        assert message.to_dict() == {
            "code": "loyalty.offline.tagged",
            "audience": "customer",
            "severity": "info",
            "text": "Ditt köp är sparat och kopplas till ditt medlemskap senare. Du behöver inte göra något.",
            "locale": "sv-SE",
        }

    def test_unpublished_code_is_refused(self):
        """A code that is not published is a mistake of the caller and says so, rather than saying nothing."""
        with pytest.raises(KeyError, match=r"loyalty\.nonsense"):
            Messages("en").render(["loyalty.nonsense"])

    @pytest.mark.parametrize(
        ("configured", "asked", "language", "tag"),
        [
            pytest.param("sv-SE", None, "sv", "sv-SE", id="configured"),
            pytest.param("sv-FI", None, "sv", "sv-FI", id="another-region"),
            pytest.param("sv-SE", "de-AT", "de", "de-AT", id="asked"),
            pytest.param("sv-SE", "fr", "sv", "sv-SE", id="asked-not-shipped"),
            pytest.param("sv-SE", "", "sv", "sv-SE", id="asked-empty"),
            pytest.param("sv-SE", "no", "nb", "no", id="norwegian-macrolanguage"),
            pytest.param("nn-NO", None, "nb", "nn-NO", id="nynorsk"),
            pytest.param("fr-FR", None, "en", "en", id="configured-not-shipped"),
            pytest.param("fr-FR", "da", "da", "da", id="asked-where-configured-is-not-shipped"),
            pytest.param("EN-gb", None, "en", "en-GB", id="spelling"),
        ],
    )
    def test_locale_served(self, configured, asked, language, tag):
        """A regional tag gets its language's text under its own name; what is not shipped falls back."""
        message = Messages(configured).render(["storage.full"], asked)[0]
        assert (message.text, message.locale) == (TEXTS[language]["message", "storage.full", "staff"], tag)

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_conditions_and_page(self, language):
        """Conditions and the page's texts come in the locale asked for."""
        messages = Messages("en")
        for code in CONDITION_CODES:
            text = messages.condition(code, language)
            expected = [TEXTS[language]["condition", code, part] for part in ("title", "detail", "remedy")]
            assert [text.title, text.detail, text.remedy] == expected
        assert messages.page(language) == {key[1]: text for key, text in TEXTS[language].items() if key[0] == "page"}

    def test_page_names_every_state_and_level(self):
        """The page can title each state, and say for each level what works and what to tell the customer."""
        page = Messages("en").page()
        assert {f"state.{state}.title" for state in ("online", "degraded", "offline")} <= page.keys()
        assert {f"level.{n}.{part}" for n in range(1, 5) for part in ("title", "works", "tell")} <= page.keys()

    def test_page_cannot_be_changed(self):
        """What one caller gets of the page is what every other caller gets."""
        with pytest.raises(TypeError):
            Messages("en").page()["page.title"] = "Mine"

    def test_memory_is_bounded_by_tags_asked(self):
        """Thousands of tags asked for do not grow the cache without end, and each is still served."""
        messages = Messages("sv-SE")
        for number in range(1000):
            assert messages.render(["storage.full"], f"de-{number:03}")[0].locale == f"de-{number:03}"
        assert len(messages._catalogues) <= 64
        assert messages.render(["storage.full"])[0].locale == "sv-SE"

    def test_fast_enough_for_every_sale(self):
        """Rendering two codes takes far less than the millisecond that a sale could notice."""
        messages = Messages("sv-SE")
        started = time.process_time()
        for _ in range(1000):
            messages.render([TAGGED, "loyalty.points_later"], "sv-SE")
        assert (time.process_time() - started) / 1000 < 0.000_5


class TestNegotiate:
    @pytest.mark.parametrize(
        ("header", "served"),
        [
            pytest.param(None, "sv-SE", id="none"),
            pytest.param("", "sv-SE", id="empty"),
            pytest.param("de-AT", "de-AT", id="one"),
            pytest.param("DE-at", "de-AT", id="case"),
            pytest.param("fr", "sv-SE", id="not-shipped"),
            pytest.param("fr, de;q=0.5", "de", id="first-shipped"),
            pytest.param("en;q=0.4, fi;q=0.8, da;q=0.6", "fi", id="weights"),
            pytest.param("da, fi", "da", id="equal-weights-by-order"),
            pytest.param("da;q=1.000,fi;q=0.999", "da", id="three-decimals"),
            pytest.param("fi ; q=0.2 ,\tda;Q=0.3", "da", id="blanks-and-capital-q"),
            pytest.param("de;q=0, en;q=0.1", "en", id="refused"),
            pytest.param("sv;q=0", "sv-SE", id="only-a-refusal"),
            pytest.param("*", "sv-SE", id="anything"),
            pytest.param("*, de;q=0.5", "sv-SE", id="anything-first"),
            pytest.param("de, *;q=0.5", "de", id="anything-last"),
            pytest.param("fr, *;q=0.5", "sv-SE", id="anything-after-not-shipped"),
            pytest.param("*, sv;q=0", "en", id="anything-but-the-configured"),
            pytest.param("*, sv;q=0, en;q=0", "de", id="anything-but-two"),
            pytest.param("sv", "sv-SE", id="bare-language-of-the-configured"),
            pytest.param("sv, sv-SE;q=0", "sv", id="bare-language-without-that-region"),
            pytest.param("sv-FI", "sv-FI", id="another-region-than-the-configured"),
            pytest.param("sv-SE,sv;q=0.9,en-US;q=0.8,en;q=0.7", "sv-SE", id="browser-swedish"),
            pytest.param("en-US,en;q=0.9", "en-US", id="browser-english"),
            pytest.param("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", "en", id="rfc-example"),
            pytest.param("no", "no", id="norwegian"),
            pytest.param("nn-NO, en;q=0.5", "nn-NO", id="nynorsk"),
            pytest.param("de-Latn-AT-1996", "de-Latn-AT", id="variant-dropped"),
            pytest.param("de-AT-u-co-phonebk", "de-AT", id="extension-dropped"),
            pytest.param("es-419, da-208;q=0.3", "da-208", id="numeric-region"),
            pytest.param("de;q=2, fi;q=0.1", "fi", id="weight-out-of-range"),
            pytest.param("de;q=0.1234, fi;q=0.1", "fi", id="weight-too-long"),
            pytest.param("de;q=nan, fi;q=0.1", "fi", id="weight-not-a-number"),
            pytest.param("de;level=1, fi;q=0.1", "fi", id="unknown-parameter"),
            pytest.param("deutsch, fi;q=0.1", "fi", id="not-a-tag"),
            pytest.param(",, ,de,", "de", id="empty-elements"),
            pytest.param("de_AT", "sv-SE", id="underscore"),
            pytest.param("dė", "sv-SE", id="not-ascii"),
            pytest.param("de;q=\u0660.\u0665, fi;q=0.1", "fi", id="digits-of-another-script"),
            pytest.param("\x00\r\nde: x", "sv-SE", id="control-characters"),
            pytest.param("fi," * 400 + "fi", "sv-SE", id="too-long"),
        ],
    )
    def test_served(self, header, served):
        """The shipped locale that the header prefers is served, and the configured one when there is none."""
        assert Messages("sv-SE").negotiate(header) == served

    def test_bare_norwegian_on_a_norwegian_till(self):
        """All three names of Norwegian mean the configured locale on a till in Norway."""
        messages = Messages("nb-NO")
        assert {messages.negotiate(header) for header in ("nb", "no", "nn")} == {"nb-NO"}

    @given(st.one_of(st.text(max_size=1200), st.text(alphabet="svdeni-;q=.01,* ", max_size=1200)))
    def test_never_raises(self, header):
        """Whatever the header holds, the answer is a tag in its usual spelling that has texts."""
        messages = Messages("sv-SE")
        tag = messages.negotiate(header)
        assert re.fullmatch(r"[a-z]{2}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?", tag)
        assert messages.render(["storage.full"], tag)[0].locale == tag


OVERRIDES = {
    f"{TAGGED}.customer.sv-SE": "Region",
    f"{TAGGED}.customer.sv": "Language",
    f"{TAGGED}.customer.nb": "Bokmål",
    f"{TAGGED}.customer.nn-NO": "Nynorsk",
}


class TestOverrides:
    @pytest.mark.parametrize(
        ("locale", "text"),
        [
            pytest.param("sv-SE", "Region", id="exact"),
            pytest.param("sv", "Language", id="language"),
            pytest.param("sv-FI", "Language", id="other-region-gets-the-language"),
            pytest.param("sv-Latn-SE", "Language", id="script-and-region"),
            pytest.param("nn-NO", "Nynorsk", id="own-name-first"),
            pytest.param("no-NO", "Bokmål", id="alias"),
            pytest.param("de", TEXTS["de"]["message", TAGGED, "customer"], id="shipped"),
        ],
    )
    def test_closest_wins(self, locale, text):
        """The override closest to the served locale replaces the shipped text, which stands where none fits."""
        assert customer_text(Messages("en", OVERRIDES), locale) == text

    def test_replaces_only_what_it_names(self):
        """The other audience, the other codes and the severity stay as shipped."""
        plain, replaced = Messages("sv-SE"), Messages("sv-SE", OVERRIDES)
        before, after = plain.render(MESSAGE_CODES), replaced.render(MESSAGE_CODES)
        changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
        assert [(new.code, new.audience, new.severity) for _, new in changed] == [(TAGGED, "customer", "info")]

    def test_bare_language_gets_the_configured_override(self):
        """A customer display that asks for plain Swedish sees what the shop wrote for its own locale."""
        messages = Messages("sv-SE", {f"{TAGGED}.customer.sv-SE": "Region"})
        assert customer_text(messages, messages.negotiate("sv")) == "Region"

    def test_later_changes_of_the_mapping_do_nothing(self):
        """The texts are those of the moment of construction."""
        overrides = {f"{TAGGED}.customer.sv": "Before"}
        messages = Messages("en", overrides)
        overrides[f"{TAGGED}.customer.sv"] = "After"
        assert customer_text(messages, "sv") == "Before"

    @pytest.mark.parametrize(
        ("key", "text", "problem"),
        [
            pytest.param("nonsense", "x", "code.audience.locale", id="no-dots"),
            pytest.param("customer.sv", "x", "code.audience.locale", id="no-code"),
            pytest.param("", "x", "code.audience.locale", id="empty-key"),
            pytest.param("loyalty.nonsense.customer.sv", "x", "no message of that code", id="unknown-code"),
            pytest.param("vendor.offline.staff.sv", "x", "no message of that code", id="condition-code"),
            pytest.param(f"{TAGGED}.manager.sv", "x", "neither staff nor customer", id="unknown-audience"),
            pytest.param("loyalty.stale.customer.sv", "x", "no text for customers", id="audience-not-told"),
            pytest.param(f"{TAGGED}.customer.fr", "x", "no texts are shipped", id="unknown-language"),
            pytest.param(f"{TAGGED}.customer.sv_SE", "x", "no texts are shipped", id="malformed-locale"),
            pytest.param(f"{TAGGED}.customer.", "x", "no texts are shipped", id="empty-locale"),
            pytest.param(f"{TAGGED}.customer.sv-se", "x", "written sv-SE", id="unusual-spelling"),
            pytest.param(f"{TAGGED}.customer.sv", " ", "empty", id="empty-text"),
            pytest.param(f"{TAGGED}.customer.sv", "x" * 501, "longer than 500", id="long-text"),
            pytest.param(f"{TAGGED}.customer.sv", "a\nb", "control character", id="two-lines"),
            pytest.param(f"{TAGGED}.customer.sv", "Hi {name}", "no placeholders", id="placeholder"),
            pytest.param(f"{TAGGED}.customer.sv", "Hi }", "no placeholders", id="unbalanced-brace"),
        ],
    )
    def test_faults(self, key, text, problem):
        """A fault names its key and says what is wrong, in the check and when the agent starts."""
        (fault,) = check_overrides({key: text})
        assert fault.startswith(f'messages."{key}": ')
        assert problem in fault
        with pytest.raises(MessageOverrideError) as raised:
            Messages("en", {key: text})
        assert str(raised.value) == fault
        assert isinstance(raised.value, ConfigurationError)

    def test_all_faults_at_once(self):
        """Every fault is reported, two of one key included, and good keys are not mentioned."""
        overrides = {"nonsense": "", f"{TAGGED}.customer.sv": "Good", f"{TAGGED}.customer.fr": "x"}
        faults = check_overrides(overrides)
        assert [fault.split(": ")[0] for fault in faults] == [
            'messages."nonsense"',
            'messages."nonsense"',
            f'messages."{TAGGED}.customer.fr"',
        ]
        with pytest.raises(MessageOverrideError) as raised:
            Messages("en", overrides)
        assert len(raised.value.faults) == 3

    def test_good_overrides_have_no_fault(self):
        """Every shipped text, in every language, could stand as its own replacement."""
        overrides = {
            f"{code}.{audience}.{language}": text
            for language in LANGUAGES
            for (section, *rest), text in TEXTS[language].items()
            if section == "message"
            for code, audience in [rest]
        }
        assert len(overrides) == (2 * len(MESSAGE_CODES) - len(STAFF_ONLY)) * len(LANGUAGES)
        assert check_overrides(overrides) == []


def read_rows(columns, codes):
    """The documentation's table rows of that many columns about those codes, by code."""
    lines = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells if len(row) == columns and row[0].strip("`") in codes}


class TestDocs:
    def test_every_message_is_described(self):
        """The page tells of each message its severity, its audience and when it is said, as the program has it."""
        described = read_rows(5, MESSAGE_CODES)
        assert list(described) == list(MESSAGE_CODES)
        for code, (severity, audience, when, why) in described.items():
            rendered = Messages("en").render([code])
            assert severity == rendered[0].severity
            assert audience == ", ".join(message.audience for message in rendered)
            assert when.endswith(".")
            assert why.endswith(".")
            assert why.startswith("Staff only") == (len(rendered) == 1)

    def test_every_english_text_is_shown(self):
        """The page shows the English texts word for word."""
        shown = read_rows(3, MESSAGE_CODES)
        english = read("en")
        assert shown == {
            code: [texts["staff"], texts.get("customer", "(staff only)")] for code, texts in english["message"].items()
        }
        conditions = read_rows(4, CONDITION_CODES)
        assert conditions == {code: list(texts.values()) for code, texts in english["condition"].items()}

    def test_example_of_an_override_works(self):
        """The override that the page shows is accepted."""
        (block,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
        assert check_overrides(tomllib.loads(block)["messages"]) == []
