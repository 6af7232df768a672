"""The configuration: every fault at once, each with its place, and where each value came from."""

from __future__ import annotations

import textwrap
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from agent.connectors.registry import settings_models
from agent.connectors.voyado.settings import VoyadoSettings
from agent.domain.benefits import BenefitKind, Worth
from agent.domain.identifiers import IdentifierType
from agent.domain.offline import Allowance, OfflinePolicy
from agent.errors import ConfigurationError, Fault
from agent.secrets import SecretReference
from agent.settings import Rate, Secret, VendorSection, load

SECRET = "made-up-secret-canary"
MINIMAL = """
    [agent]
    store_id = "1042"
    till_id = "03"
    [voyado]
    base_url = "https://acme.voyado.com"
    api_key = "file:key"
    feed = "file:///var/lib/feed"
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a configuration's files into a directory of its own, with a readable key beside them."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "key").write_text(SECRET + "\n")

    def write(text=MINIMAL, **drop_ins):
        (tmp_path / "config.toml").write_text(textwrap.dedent(text), encoding="utf-8")
        for name, content in drop_ins.items():
            (tmp_path / "conf.d").mkdir(exist_ok=True)
            (tmp_path / "conf.d" / f"{name}.toml").write_text(textwrap.dedent(content), encoding="utf-8")
        return tmp_path / "config.toml"

    return write


def loaded(path, **more):
    vendors = more.pop("vendors", {"voyado": VoyadoSettings})
    return load(config=path, vendors=vendors, environ=more.pop("environ", {}), **more)


def faults(path, **more):
    with pytest.raises(ConfigurationError) as caught:
        loaded(path, **more)
    return {fault.pointer: fault.message for fault in caught.value.faults}


def test_a_minimal_configuration_is_complete(write):
    """Everything else has its default."""
    configuration = loaded(write())
    settings = configuration.settings
    assert (settings.agent.store_id, settings.loyalty.fallback_level) == ("1042", 3)
    assert settings.loyalty.primary is IdentifierType.MEMBER_NUMBER
    assert settings.loyalty.secondary == (IdentifierType.MOBILE_PHONE, IdentifierType.EMAIL)
    assert settings.api.hits == Rate(5.0)
    assert settings.retention.undelivered == timedelta(days=30)
    assert configuration.vendor.base_url == "https://acme.voyado.com"
    assert configuration.secret(configuration.vendor.api_key).read() == SECRET


def test_all_faults_are_told_at_once_with_file_and_key(write):
    """One run of `config check` is enough."""
    path = write(
        """
        [agent]
        store_id = 1042
        timezone = "Europe/Gothenburg"
        country = "Sweden"
        colour = "red"
        [api]
        listen = ["0.0.0.0:8787"]
        hits = "300 a minute"
        [loyalty]
        fallback_level = 5
        [queue]
        flush_every = "10"
        max_bytes = "1GB"
        [storage]
        key = "the-key-itself"
        [nonsense]
        a = 1
        [voyado]
        base_url = "http://acme.voyado.com"
        api_key = "file:nowhere"
        requests_per_second = -1
        """
    )
    found = faults(path)
    assert set(found) == {
        f"{path}: {key}"
        for key in (
            "agent.store_id", "agent.till_id", "agent.timezone", "agent.country", "agent.colour", "api.listen.0",
            "api.hits", "loyalty.fallback_level", "queue.flush_every", "queue.max_bytes", "storage.key", "nonsense",
            "voyado.base_url", "voyado.requests_per_second", "voyado.api_key",
        )
    }  # fmt: skip
    assert found[f"{path}: agent.colour"] == "is not a setting"
    assert found[f"{path}: agent.till_id"] == "is needed"
    assert "the-key-itself" not in str(found)


def test_a_missing_secret_is_a_fault_without_its_value(write):
    """The reference is named, and the settings of other rooms are still checked."""
    path = write(MINIMAL.replace("file:key", "file:nowhere") + '[storage]\nkey = "env:NO_SUCH_KEY"\n')
    found = faults(path)
    assert found == {
        f"{path}: voyado.api_key": "file:nowhere cannot be read: No such file or directory",
        f"{path}: storage.key": "env:NO_SUCH_KEY is empty",
    }
    assert loaded(path, secrets=False).settings.agent.till_id == "03"


def test_no_fault_hides_another(write):
    """A slip in one table hides neither secrets, nor contradictions, nor texts, in that table or elsewhere."""
    path = write(
        MINIMAL.replace("file:key", "file:nowhere")
        + """    requests_per_second = -1
    [http]
    read_timeout = "soon"
    ca_file = "/nowhere.pem"
    [queue]
    flush_every = 10
    backoff_first = "1h"
    [retention]
    delivered = "always"
    undelivered = "500d"
    [replica]
    contents = "everything"
    fields = ["first_name"]
    [storage]
    encryption = "yes"
    key = "env:NO_SUCH_KEY"
    [messages]
    "loyalty.stale.customer.sv-SE" = "x"
    "loyalty.stale.staff.sv-SE" = 7
    """
    )
    assert {key.removeprefix(f"{path}: ") for key in faults(path)} == {
        "voyado.requests_per_second", "voyado.api_key", "http.read_timeout", "http.ca_file", "queue.flush_every",
        "queue.backoff_first", "retention.delivered", "retention.undelivered", "replica.contents",
        "storage.encryption", "storage.key", 'messages."loyalty.stale.customer.sv-SE"',
        "messages.loyalty.stale.staff.sv-SE",
    }  # fmt: skip


def test_a_room_s_own_rules_are_told_beside_other_faults(write):
    """A pinned host key is missed although a time-out cannot be read; what is at fault is not judged by its default."""
    path = write(MINIMAL.replace("file:///var/lib/feed", "sftp://acme@ftp.voyado.com/x") + "[http]\nread_timeout = 3\n")
    found = faults(path)
    keys = ("voyado.feed_known_hosts", "voyado.feed_secret", "http.read_timeout")
    assert {f"{path}: {key}" for key in keys} == set(found)
    path = write(MINIMAL.replace("file:///var/lib/feed", "ftp://x") + "[loyalty]\nfallback_level = 9\n")
    assert set(faults(path)) == {f"{path}: voyado.feed", f"{path}: loyalty.fallback_level"}


def test_a_secret_that_is_not_needed_need_not_be_there(write):
    """The SFTP key of a feed that is a folder."""
    assert loaded(write()).vendor.feed_secret == "credential:voyado-sftp"


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('[replica]\nfields = ["first_name"]', "replica.fields", 'needs replica.contents = "contacts"'),
        (
            '[loyalty]\nprimary_key = "external_id"\nsecondary_keys = ["external_id"]',
            "loyalty.secondary_keys",
            "names the primary key",
        ),
        ('[loyalty]\nsecondary_keys = ["email", "email"]', "loyalty.secondary_keys", "names a key twice"),
        ('[queue]\nbackoff_first = "1h"', "queue.backoff_first", "is longer than queue.backoff_max"),
        ('[queue]\nreserve_bytes = "1GiB"', "queue.reserve_bytes", "is not less than queue.max_bytes"),
        ('[replica]\nstale_after = "15d"', "replica.stale_after", "is longer than replica.expires_after"),
        ('[retention]\ndelivered = "31d"', "retention.delivered", "is longer than retention.undelivered"),
        ('[retention]\nundelivered = "500d"', "retention.undelivered", "is longer than retention.audit"),
        ('[api]\nlisten = ["127.0.0.1:1", "127.0.0.1:1"]', "api.listen", "names an address twice"),
        ('[api]\nsocket_users = { pos = "pos" }', "api.socket_users", "needs a unix: address in api.listen"),
        ('[http]\nca_file = "/nowhere.pem"', "http.ca_file", "is not a readable file of PEM certificates"),
        ('[http]\nca_file = "config.toml"', "http.ca_file", "is not a readable file of PEM certificates"),
        ('[http]\nproxy = "proxy.example.com:3128"', "http.proxy", "is not a proxy's URL"),
        ('[http]\nproxy = "socks5://proxy.example.com:1080"', "http.proxy", "is not a proxy's URL"),
        ('[http]\nproxy = "http://"', "http.proxy", "is not a proxy's URL"),
        ('[http]\nproxy = "http://proxy:99999"', "http.proxy", "is not a proxy's URL"),
        ('[http]\nproxy = "http://[::1"', "http.proxy", "is not a proxy's URL"),
        ('[http]\nproxy = "http://proxy:3128/path"', "http.proxy", "is not a proxy's URL"),
        ('[http]\nproxy = "http://proxy:3128?x"', "http.proxy", "is not a proxy's URL"),
        ('[http]\nproxy = "http://till@proxy:3128"', "http.proxy", "holds a user or a password"),
        ('[http]\nproxy = "http://till:pw@proxy:3128"', "http.proxy", "holds a user or a password"),
        ('[http]\nproxy_secret = "file:key"', "http.proxy_secret", "is set, but http.proxy is not"),
        ('[http]\nproxy = "http://proxy:1"\nproxy_secret = "till:pw"', "http.proxy_secret", "is not a reference"),
        ('[http]\nproxy = "http://proxy:1"\nproxy_secret = "file:gone"', "http.proxy_secret", "file:gone cannot"),
        (
            '[messages]\n"loyalty.stale.customer.sv-SE" = "x"',
            'messages."loyalty.stale.customer.sv-SE"',
            "this code has no text",
        ),
        (
            '[messages]\n"loyalty.stale.staff.sv-SE" = "{name}"',
            'messages."loyalty.stale.staff.sv-SE"',
            "texts have no placeholders",
        ),
        ('[enrol]\nnumber_series = "a b"', "enrol.number_series", "string should match pattern"),
        ('[loyalty]\nvendor = "antavo"', "loyalty.vendor", "is not available in this version"),
        ('[loyalty]\nvendor = "acme"', "loyalty.vendor", "is not a vendor"),
        ('[loyalty]\nvendor = ["voyado"]', "loyalty.vendor", ""),
        ('loyalty = "voyado"', "loyalty", ""),
    ],
)  # fmt: skip
def test_contradictions(write, text, key, message):
    """Settings that cannot be meant together are named, each by its key."""
    head = "" if text.startswith("[") else text + "\n"
    path = write(head + textwrap.dedent(MINIMAL) + ("" if head else text))
    found = faults(path)
    assert f"{path}: {key}" in found
    assert found[f"{path}: {key}"].startswith(message)


def test_a_vendor_s_own_contradictions_are_told_under_its_table(write):
    """Level 3 needs a feed."""
    path = write(MINIMAL.replace('feed = "file:///var/lib/feed"', ""))
    assert faults(path) == {f"{path}: voyado.feed": "is needed: loyalty.fallback_level is 3"}


def test_a_table_of_another_vendor_is_a_fault(write, tmp_path):
    """Only one system owns the contacts."""
    path = write(MINIMAL + "[other]\nbase_url = 'https://example.com'\n")
    with pytest.raises(ConfigurationError, match=r"other: is set, but loyalty.vendor is another system"):
        load(config=path, vendors={"voyado": VoyadoSettings, "other": VoyadoSettings}, environ={})


# --- several systems ------------------------------------------------------------------------------------------


class LedgerSettings(VendorSection):
    """A system that takes sales and owns no contacts."""

    not_loyalty: ClassVar[str] = "Ledger keeps no contacts"

    base_url: str = Field(description="its address")
    api_key: Secret = Field("file:key", description="its key")
    old_key: Secret = Field("file:none", description="a key that nothing needs")
    batch: int = Field(10, ge=1, description="sales a call")

    def contradictions(self, settings, role):
        too_many = self.batch > settings.queue.reserve_bytes
        return [Fault("batch", f"is too much for a {role}")] if too_many else []

    def unused_secrets(self, role):
        return {"old_key"} if role == "forward" else set()


FORWARD = '[forward.ledger]\nbase_url = "https://ledger.example.com"\n'
ROOMS = {
    "voyado": VoyadoSettings,
    "ledger": LedgerSettings,
    "both": type("Both", (LedgerSettings,), {"not_loyalty": ""}),
}


@pytest.mark.parametrize("place", ["loyalty", "forward"])
@pytest.mark.parametrize("vendor", settings_models())
def test_an_empty_table(write, vendor, place):
    """What is needed is told as a fault by each room's own rules, too, which see None where it is missing."""
    mine = f'[loyalty]\nvendor = "{vendor}"\n[{vendor}]\n' if place == "loyalty" else f"[forward.{vendor}]\n"
    other = MINIMAL if place == "forward" else MINIMAL.partition("[voyado]")[0]
    if vendor == "voyado" and place == "forward":
        other = other.partition("[voyado]")[0]
    path = write(textwrap.dedent(other) + mine)

    assert faults(path, vendors=settings_models())


def test_a_further_system_has_its_own_table(write):
    """Its keys come from the file and the environment alike, and are told by their whole path."""
    environ = {"LOYALTY_AGENT__FORWARD__LEDGER__BATCH": "7"}
    configuration = loaded(write(MINIMAL + FORWARD), vendors=ROOMS, environ=environ)
    (ledger,) = configuration.forwards.values()
    assert (ledger.base_url, ledger.batch) == ("https://ledger.example.com", 7)
    assert configuration.origins["forward.ledger.batch"] == "LOYALTY_AGENT__FORWARD__LEDGER__BATCH"
    assert [(name, path) for name, path, _ in configuration.vendor_tables()] == [
        ("voyado", "voyado"), ("ledger", "forward.ledger")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("[forward]\nledger = 1\n", "forward.ledger", "is not a table"),
        ('forward = "ledger"\n', "forward", "is not a table"),
        ("[forward.ledger]\n", "forward.ledger.base_url", "is needed"),
        (FORWARD + "colour = 1\n", "forward.ledger.colour", "is not a setting"),
        (FORWARD + "batch = 0\n", "forward.ledger.batch", "input should be"),
        (FORWARD + "batch = 99999999\n", "forward.ledger.batch", "is too much for a forward"),
        (FORWARD + 'api_key = "file:nowhere"\n', "forward.ledger.api_key", "file:nowhere cannot be read"),
        ("[forward.mparticle]\n", "forward.mparticle", "is not available in this version; available: both, ledger"),
        ("[forward.abacus]\n", "forward.abacus", "is not a vendor; available: both, ledger"),
        ("[forward.voyado]\n", "forward.voyado", "takes sales of its own members only"),
        (
            FORWARD.replace("forward.", ""), "ledger",
            "is set, but loyalty.vendor is another system; as a further one its table is [forward.ledger]",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) and len(value) > 30 else value,
)  # fmt: skip
def test_faults_of_a_further_system(write, text, key, message):
    """Each is told under its own key, with what is wrong with it."""
    path = write(f"{text}{MINIMAL}" if text.startswith("forward =") else f"{MINIMAL}{text}")
    found = faults(path, vendors=ROOMS)
    assert list(found) == [f"{path}: {key}"]
    assert found[f"{path}: {key}"].startswith(message)


def test_a_system_is_not_forwarded_to_itself(write):
    """The loyalty system gets every sale already; what else is wrong with the second table is told too."""
    own = MINIMAL.replace("[voyado]", '[loyalty]\nvendor = "both"\n[both]').replace('feed = "file:///var/lib/feed"', "")
    path = write(own + '[forward.both]\nbase_url = "https://ledger.example.com"\nbatch = 0\n')
    found = faults(path, vendors=ROOMS)
    assert found[f"{path}: forward.both"] == "is loyalty.vendor, which gets every sale already"
    assert f"{path}: forward.both.batch" in found


def test_who_owns_no_contacts_cannot_be_the_loyalty_system(write):
    """The reason is told, and who can be."""
    path = write(MINIMAL + '[loyalty]\nvendor = "ledger"\n[ledger]\nbase_url = "https://ledger.example.com"\n')
    found = faults(path, vendors=ROOMS)
    assert found[f"{path}: loyalty.vendor"] == "Ledger keeps no contacts; available: both, voyado"


# --- where values come from -----------------------------------------------------------------------------------


def test_layers_override_each_other_and_say_so(write):
    """Flag over environment over conf.d, in the order of names, over the file, over the default."""
    path = write(
        MINIMAL + '[log]\nlevel = "error"\n[queue]\nflush_every = "1s"\nbackoff_first = "2s"\nbackoff_max = "3s"\n',
        a10='[queue]\nflush_every = "4s"\nbackoff_first = "5s"\n',
        b20='[queue]\nbackoff_first = "6s"\nbackoff_max = "1m"\n',
    )
    configuration = loaded(
        path,
        environ={"LOYALTY_AGENT__QUEUE__BACKOFF_MAX": "8s", "LOYALTY_AGENT__API__LISTEN": '["127.0.0.1:1"]'},
        flags={"log.level": "debug"},
    )
    queue, origins = configuration.settings.queue, configuration.origins
    assert [duration.total_seconds() for duration in (queue.flush_every, queue.backoff_first, queue.backoff_max)] == [
        4,
        6,
        8,
    ]
    assert (configuration.settings.log.level, configuration.settings.api.listen) == ("debug", ("127.0.0.1:1",))
    directory = path.parent / "conf.d"
    assert origins["queue.flush_every"] == str(directory / "a10.toml")
    assert origins["queue.backoff_first"] == str(directory / "b20.toml")
    assert origins["queue.backoff_max"] == "LOYALTY_AGENT__QUEUE__BACKOFF_MAX"
    assert origins["log.level"] == "the command line"
    assert origins["agent.store_id"] == str(path)
    assert "retention.audit" not in origins


def test_a_variable_that_is_nested_too_deeply(write):
    """Neither a name nor a value of the environment can be so deep that reading it fails."""
    deep = "LOYALTY_AGENT__A" + "__B" * 2_000
    found = faults(write(), environ={deep: "1", "LOYALTY_AGENT__API__LISTEN": "[" * 5_000})
    assert found == {
        f"{deep}: a{'.b' * 2_000}": "is nested too deeply",
        "LOYALTY_AGENT__API__LISTEN: api.listen": "is not a TOML value",
    }


def test_a_fault_names_the_layer_it_comes_from(write):
    """Not the main file, when a drop-in or a variable is at fault."""
    path = write(MINIMAL, a="[queue]\nflush_every = 'soon'\n")
    environ = {"LOYALTY_AGENT__LOG__LEVEL": "loud", "LOYALTY_AGENT__API__LISTEN": "[1", "LOYALTY_AGENT__ODD": "1"}
    found = faults(path, environ=environ, flags={"queue.backoff_max": "long"})
    assert set(found) == {
        f"{path.parent / 'conf.d' / 'a.toml'}: queue.flush_every",
        "LOYALTY_AGENT__LOG__LEVEL: log.level",
        "LOYALTY_AGENT__API__LISTEN: api.listen",
        "LOYALTY_AGENT__ODD: odd",
        "the command line: queue.backoff_max",
    }


def test_numbers_and_switches_come_from_the_environment_too(write):
    """They are text there, and mean what they would in the file."""
    environ = {
        "LOYALTY_AGENT__LOYALTY__FALLBACK_LEVEL": "2",
        "LOYALTY_AGENT__LOYALTY__LIVE_LOOKUP": "false",
        "LOYALTY_AGENT__VOYADO__REQUESTS_PER_SECOND": "2.5",
        "LOYALTY_AGENT__VOYADO__API_VERSION": "2",
        "OTHER__THING": "x",
    }
    configuration = loaded(write(), environ=environ)
    assert (configuration.settings.loyalty.fallback_level, configuration.settings.loyalty.live_lookup) == (2, False)
    assert (configuration.vendor.requests_per_second, configuration.vendor.api_version) == (2.5, 2)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('[loyalty]\nsecondary_keys = "email"', "loyalty.secondary_keys", "is not a list, such as"),
        ("[api]\nlisten = []", "api.listen", "needs at least one item"),
        ("[queue]\nflush_every = { s = 5 }", "queue.flush_every", "is not a duration"),
        (
            '[messages]\n"loyalty.stale.staff.sv" = ["x"]',
            "messages.loyalty.stale.staff.sv",
            "input should be a valid string",
        ),
    ],
)
def test_what_has_another_shape(write, text, key, message):
    """Said in the words of whoever writes the file."""
    path = write(textwrap.dedent(MINIMAL) + text + "\n")
    assert faults(path)[f"{path}: {key}"].startswith(message)


@pytest.mark.parametrize("key", ["support", "welcome"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (r"two\nlines", "is not one line of text"),
        (" IT support", "is not one line of text"),
        (r"\u0007", "is not one line of text"),
        ("x" * 121, "string should have at most 120 characters"),
    ],
)
def test_a_line_of_the_shop_s_own(write, key, text, message):
    """What the pages show as it stands is one line of text that fits a screen; by default there is none."""
    table = textwrap.dedent(MINIMAL).replace("[agent]", f'[agent]\n{key} = "{text}"')
    path = write(table)
    assert faults(path)[f"{path}: agent.{key}"].startswith(message)
    assert getattr(loaded(write(table.replace(text, "Butik Hörnan: 08-465 004 10"))).settings.agent, key) != ""
    assert getattr(loaded(write(textwrap.dedent(MINIMAL))).settings.agent, key) == ""


def test_what_should_be_a_table(write):
    """A key of its own in place of a table is named as such."""
    path = write("queue = 5\n" + textwrap.dedent(MINIMAL))
    assert faults(path)[f"{path}: queue"] == "is not a table"


def test_what_should_be_no_table(write):
    """A variable that reaches below a value replaces it: the variable is named, not the file that had it right."""
    variable = "LOYALTY_AGENT__AGENT__STORE_ID__X"
    found = faults(write(), environ={variable: "1"})
    assert list(found) == [f"{variable}: agent.store_id"]


def test_an_editor_s_mark_at_the_beginning(tmp_path):
    """Windows' own editors put a byte order mark before a text; it is none of it, nor of a secret."""
    path = tmp_path / "config.toml"
    path.write_text(textwrap.dedent(MINIMAL), encoding="utf-8-sig")
    (tmp_path / "key").write_text("made-up\r\n", encoding="utf-8-sig")
    assert loaded(path).settings.agent.store_id == "1042"
    assert SecretReference.parse("file:key", tmp_path).read() == "made-up"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"[agent", "is not TOML"),
        (b"\xff\xfe", "cannot be read: it is not UTF-8 text"),
        (b"a = " + b"[" * 5_000, "is nested too deeply"),
        (b".".join([b"a"] * 5_000) + b" = 1", "is nested too deeply"),
        (b"a = " + b"9" * 5_000, "is not TOML"),
    ],
    ids=["missing", "no TOML", "no text", "deep lists", "a deep key", "a long number"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, message):
    """By its path; what is missing may stand in it, and only what is stated elsewhere is told besides."""
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    (said,) = faults(path).items()
    assert (said[0], said[1].startswith(message)) == (str(path), True)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "10.toml").write_text("[queue]\nmax_bytes = 'much'\n")
    assert len(faults(path)) == 2


def test_the_state_directory_is_decided_once(write, monkeypatch, tmp_path):
    """The setting wins over the service manager's variable."""
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/agent:/other")
    assert loaded(write()).state_dir == Path("/var/lib/agent")
    mine = loaded(write(MINIMAL.replace("[voyado]", f'state_dir = "{tmp_path}"\n    [voyado]')))
    assert mine.state_dir == tmp_path


def test_messages_may_be_spelled_with_or_without_quotes(write):
    """TOML reads dots as tables; both mean the same text."""
    path = write(MINIMAL + '[messages]\n"loyalty.stale.staff.sv-SE" = "a"\nloyalty.unknown.staff.sv-SE = "b"\n')
    assert loaded(path).settings.messages == {"loyalty.stale.staff.sv-SE": "a", "loyalty.unknown.staff.sv-SE": "b"}


# --- spellings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("800ms", 0.8), ("15m", 900), ("14d", 1_209_600), ("24h", 86_400), ("1s", 1)]
)
def test_durations(write, text, seconds):
    """A whole number and a unit."""
    path = write(MINIMAL + f'[loyalty]\nlive_lookup_budget = "{text}"\n')
    assert loaded(path).settings.loyalty.live_lookup_budget.total_seconds() == seconds


@pytest.mark.parametrize("text", ['"0s"', '"-1s"', '"1.5h"', '"15 m"', '"15"', "15", '"1w"', '""', "true"])
def test_what_is_no_duration(write, text):
    """No guessing of units."""
    path = write(MINIMAL + f"[queue]\nflush_every = {text}\n")
    assert faults(path)[f"{path}: queue.flush_every"].startswith("is not a duration")


@pytest.mark.parametrize(("text", "size"), [('"1GiB"', 1 << 30), ('"17MiB"', 17 << 20), ("4096000000", 4_096_000_000)])
def test_sizes(write, text, size):
    """Binary units, or plain bytes."""
    assert loaded(write(MINIMAL + f"[queue]\nmax_bytes = {text}\n")).settings.queue.max_bytes == size


@pytest.mark.parametrize("key", ["[loyalty]\nfallback_level", "[voyado]\nrequests_per_second"], ids=["whole", "any"])
def test_a_yes_is_no_number(write, key):
    """`true` would count as 1."""
    path = write(f"{key} = true")

    (told,) = (text for name, text in faults(path).items() if name.endswith(key.split()[-1]))
    assert told == "is true or false, and has to be a number"


@pytest.mark.parametrize("text", ['"1GB"', '"1.5GiB"', "0", "true", '"big"'])
def test_what_is_no_size(write, text):
    """A megabyte that might be a mebibyte is refused."""
    path = write(MINIMAL + f"[queue]\nmax_bytes = {text}\n")
    assert faults(path)[f"{path}: queue.max_bytes"].startswith("is not a size")


@pytest.mark.parametrize(("text", "rate"), [("30/min", 0.5), ("5/s", 5.0), ("3600/h", 1.0), ("off", None)])
def test_rates(write, text, rate):
    """Calls per second, minute or hour, or no ration at all."""
    assert loaded(write(MINIMAL + f'[api]\nmisses = "{text}"\n')).settings.api.misses == Rate(rate)


@pytest.mark.parametrize("text", ['"0/s"', '"30"', '"30/day"', "30", '"no"'])
def test_what_is_no_rate(write, text):
    """Nothing is guessed."""
    path = write(MINIMAL + f"[api]\nmisses = {text}\n")
    assert faults(path)[f"{path}: api.misses"].startswith("is not a rate")


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("127.0.0.1:8787", True), ("localhost:1", True), ("[::1]:65535", True), ("unix:/run/a.sock", True),
        ("unix:a.sock", True), ("unix:../a.sock", False), ("unix:a/b.sock", False), ("unix:", False),
        ("0.0.0.0:8787", False), ("192.168.1.5:80", False), ("127.0.0.1:65536", False), ("127.0.0.1", False),
        ("[::]:80", False), ("localhost.example.com:80", False),
    ],
)  # fmt: skip
def test_the_door_listens_on_loopback_alone(write, address, fine):
    """Anything else is refused."""
    path = write(MINIMAL + f'[api]\nlisten = ["{address}"]\n')
    if fine:
        assert loaded(path).settings.api.listen == (address,)
    else:
        assert f"{path}: api.listen.0" in faults(path)


def test_a_socket_without_a_directory_lies_in_the_runtime_directory(write, monkeypatch, tmp_path):
    """systemd's, when it gives one; a path stays what it is, and so does a port."""
    listen = 'listen = ["unix:pos.sock", "unix:/srv/pos.sock", "127.0.0.1:8787"]'
    path = write(MINIMAL + f"[api]\n{listen}\n")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    assert loaded(path).listen == (f"unix:{tmp_path}/run/pos.sock", "unix:/srv/pos.sock", "127.0.0.1:8787")
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    state = loaded(path).state_dir
    assert loaded(path).listen[0] in (f"unix:{state}/pos.sock", "unix:/run/loyalty-agent/pos.sock")


@pytest.mark.parametrize(
    ("users", "fault"),
    [
        ('pos = "pos"', None), ('"@tills" = "admin"', None), ('1001 = "pos"', None),
        ('pos = "root"', "api.socket_users.pos"), ('"a b" = "pos"', "api.socket_users"),
        ('nobody = "pos"', "api.socket_users"), ('"@nogroup" = "pos"', "api.socket_users"),
        ('65534 = "pos"', "api.socket_users"),
    ],
)  # fmt: skip
def test_users_of_a_socket(write, users, fault):
    """Users, groups and numbers, each with a scope; whoever the kernel cannot name is nobody to be named."""
    path = write(MINIMAL + f'[api]\nlisten = ["unix:/run/a.sock"]\nsocket_users = {{ {users} }}\n')
    if fault is None:
        assert len(loaded(path).settings.api.socket_users) == 1
    else:
        assert any(key.startswith(f"{path}: {fault}") for key in faults(path))


@pytest.mark.parametrize(
    ("item", "worth"),
    [
        ("percent = 10", Worth("percent", percent=Decimal(10))),
        ('amount = "20.00", currency = "SEK"', Worth("money", amount=Decimal("20.00"), currency="SEK")),
        ('amount = 20, currency = "SEK"', Worth("money", amount=Decimal("20.00"), currency="SEK")),
        ('amount = "500", currency = "JPY"', Worth("money", amount=Decimal(500), currency="JPY")),
        ('price_rule = "PR-7", last_day = 2026-12-31', Worth("price_rule", text="PR-7")),
    ],
)
@pytest.mark.parametrize("to", ["general", "welcome"])
def test_offers_of_the_shop(write, to, item, worth):
    """Each is worth one thing, exactly, and may have a last day."""
    path = write(MINIMAL + f'[benefits]\n{to} = [{{ id = "member-10", name = "Member offer", {item} }}]\n')
    (given,) = getattr(loaded(path).settings.benefits, to)
    offer = given.offer()
    assert (offer.id, offer.name, offer.value) == ("member-10", "Member offer", worth)
    assert str(offer.value.amount) == str(worth.amount)
    assert offer.last_day == (date(2026, 12, 31) if "last_day" in item else None)


@pytest.mark.parametrize(
    ("items", "where"),
    [
        ('{ id = "a", name = "A" }', ".0"),
        ('{ id = "a", name = "A", percent = 10, price_rule = "x" }', ".0"),
        ('{ id = "a", name = "A", amount = "20.00" }', ".0"),
        ('{ id = "a", name = "A", amount = "20.00", currency = "KRONOR" }', ".0"),
        ('{ id = "a", name = "A", amount = "20.005", currency = "SEK" }', ".0"),
        ('{ id = "a", name = "A", percent = 10, currency = "SEK" }', ".0"),
        ('{ id = "a", name = "A", percent = 101 }', ".0.percent"),
        ('{ id = "a", name = "A", percent = 10, last_day = "soon" }', ".0.last_day"),
        ('{ id = "a b", name = "A", percent = 10 }', ".0.id"),
        ('{ id = "a", name = "", percent = 10 }', ".0.name"),
        ('{ id = "a", name = "A", percent = 10, colour = "red" }', ".0.colour"),
        ('{ id = "a", name = "A", percent = 1 }, { id = "a", name = "B", percent = 2 }', ""),
    ],
)
@pytest.mark.parametrize("to", ["general", "welcome"])
def test_what_is_no_offer_of_the_shop(write, to, items, where):
    """It is told by its place in the list."""
    path = write(MINIMAL + f"[benefits]\n{to} = [{items}]\n")
    assert list(faults(path)) == [f"{path}: benefits.{to}{where}"]


def test_what_may_be_given_unasked(write):
    """Nothing by default; by kind, and by promotion."""
    assert loaded(write(MINIMAL)).settings.benefits.offline.policy() == OfflinePolicy()
    text = """
        [benefits.offline]
        voucher = { amount = "100.00", currency = "SEK", per_day = 1, within = "24h" }
        [benefits.offline.offers.p-1]
        amount = 20
        currency = "EUR"
        per_day = 2
        within = "30m"
        """
    policy = loaded(write(MINIMAL + textwrap.dedent(text))).settings.benefits.offline.policy()
    assert policy == OfflinePolicy(
        {BenefitKind.VOUCHER: Allowance(Decimal(100), "SEK", 1, timedelta(hours=24))},
        {"p-1": Allowance(Decimal(20), "EUR", 2, timedelta(minutes=30))},
    )


@pytest.mark.parametrize(
    ("item", "where"),
    [
        ('voucher = { amount = "100.00", currency = "SEK", per_day = 1 }', "voucher.within"),
        ('voucher = { amount = "100.00", currency = "SEK", per_day = 0, within = "24h" }', "voucher.per_day"),
        ('voucher = { amount = "-1", currency = "SEK", per_day = 1, within = "24h" }', "voucher.amount"),
        ('voucher = { amount = "100.00", per_day = 1, within = "24h" }', "voucher.currency"),
        ('voucher = { amount = "100.00", currency = "kr", per_day = 1, within = "24h" }', "voucher.currency"),
        ('points = { amount = "100.00", currency = "SEK", per_day = 1, within = "24h" }', "points"),
    ],
)
def test_what_is_no_allowance(write, item, where):
    """Half a limit is none."""
    path = write(MINIMAL + f"[benefits.offline]\n{item}\n")
    assert list(faults(path)) == [f"{path}: benefits.offline.{where}"]


@pytest.mark.parametrize(
    "origin",
    [
        *("https://*.example.com", "*", "https://a.example.com/", "a.example.com", "null"),
        *("https://a.example.com:443", "http://a.example.com:80", "http://a.example.com:65536"),
    ],
)
def test_a_web_pos_is_one_exact_origin(write, origin):
    """No pattern, no path, and spelled as a browser says it: without the port that goes without saying."""
    path = write(MINIMAL + f'[api]\nweb_pos_origin = "{origin}"\n')
    assert f"{path}: api.web_pos_origin" in faults(path)


def test_a_configuration_repeats_no_secret(write):
    """Neither its repr nor its values hold what a reference points to."""
    configuration = loaded(write())
    assert SECRET not in repr(configuration)
    assert SECRET not in configuration.settings.model_dump_json() + configuration.vendor.model_dump_json()


def test_a_configuration_cannot_be_changed(write):
    """What was checked is what runs."""
    configuration = loaded(write())
    with pytest.raises(ValueError, match="frozen"):
        configuration.settings.agent.store_id = "7"
