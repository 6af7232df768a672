"""`config check`, `show` and `example`."""

import json
import os
import re
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from agent.connectors.registry import settings_models
from agent.settings import QueueSection, Rate, Settings, load
from agent.settings.values import duration, rate, size, spelled, toml

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def test_check_finds_nothing_wrong(call, config):
    """A sound configuration is 0."""
    done = call("config", "check", "--json")

    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"ok": True, "file": str(config), "faults": [], "warnings": []}


@pytest.mark.parametrize(("locale", "warned"), [("fr-FR", True), ("sv-SE", False), ("no", False)])
def test_check_warns_of_a_locale_without_texts(call, configure, monkeypatch, locale, warned):
    """The agent works, and speaks English: that is no fault, and whoever chose the locale should know."""
    monkeypatch.setenv("LOYALTY_AGENT__AGENT__LOCALE", locale)
    done, plain = call("config", "check", "--json"), call("config", "check")
    where = [warning["where"] for warning in json.loads(done.stdout)["warnings"]]

    assert (done.exit_code, plain.exit_code) == (0, 0)
    assert where == (["LOYALTY_AGENT__AGENT__LOCALE: agent.locale"] if warned else [])
    assert ("warning: LOYALTY_AGENT__AGENT__LOCALE: agent.locale: has no texts" in plain.stdout) is warned


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root's own directory is meant")
def test_check_warns_of_a_credential_that_is_spelled_as_a_file(call, config, monkeypatch):
    """Root reads it, so that all seems well, and the service, which is handed it, cannot: the agent would not start."""
    credentials = config.with_name("credentials")
    credentials.mkdir(mode=0o700)
    (credentials / "voyado-api-key").write_text("made-up-key\n")
    (credentials / "voyado-api-key").chmod(0o600)
    for reference in (f"file:{credentials}/voyado-api-key", "file:credentials/voyado-api-key"):
        monkeypatch.setenv("LOYALTY_AGENT__VOYADO__API_KEY", reference)
        done = json.loads(call("config", "check", "--json").stdout)
        assert done["warnings"] == [
            {
                "where": "LOYALTY_AGENT__VOYADO__API_KEY: voyado.api_key",
                "message": f"{reference} is closed to the service, which is handed credential:voyado-api-key",
            }
        ]
    monkeypatch.setenv("LOYALTY_AGENT__VOYADO__API_KEY", "credential:voyado-api-key")
    assert json.loads(call("config", "check", "--json").stdout)["warnings"] == []


def test_check_warns_of_a_secret_that_others_can_read(call, config):
    """A file of its own is its owner's alone; where it is, and not what is in it, is told."""
    key = config.with_name("voyado.key")
    key.chmod(0o640)
    done = call("config", "check", "--json")
    told = {
        "where": f"{config}: voyado.api_key",
        "message": "file:voyado.key can be read by others than its owner: chmod 600",
    }
    assert (done.exit_code, json.loads(done.stdout)["warnings"]) == (0, [told])
    key.chmod(0o600)
    assert json.loads(call("config", "check", "--json").stdout)["warnings"] == []


def test_check_warns_of_a_way_in_that_ends(call, configure):
    """A vendor's table can say so of itself; a secret that it does not need has not to be there."""
    table = """
[forward.antavo]
base_url = "http://127.0.0.1:9"
environment = "st2"
auth_mode = "api_key"
api_key = "file:voyado.key"
"""
    file = configure(more=table)
    told = json.loads(call("config", "check", "--json").stdout)

    assert (told["faults"], [warning["where"] for warning in told["warnings"]]) == (
        [], [f"{file}: forward.antavo.auth_mode"]
    )  # fmt: skip
    assert "2026-12-31" in told["warnings"][0]["message"]


def test_check_names_every_fault_at_once(call, configure, monkeypatch):
    """Wrong units, unknown keys, a wrong variable and a missing secret are told together, with file and key."""
    file = configure(more='\n[queue]\nflush_every = 10\nflush_often = true\n\n[log]\nlevel = "info"\n')
    file.with_name("voyado.key").unlink()
    monkeypatch.setenv("LOYALTY_AGENT__LOG__LEVEL", "loud")

    done = call("config", "check")
    faults = json.loads(call("config", "check", "--json").stdout)["faults"]

    assert done.exit_code == 78
    assert {fault["where"] for fault in faults} == {
        f"{file}: queue.flush_every",
        f"{file}: queue.flush_often",
        "LOYALTY_AGENT__LOG__LEVEL: log.level",
        f"{file}: voyado.api_key",
    }
    assert done.stdout.splitlines() == [f"{fault['where']}: {fault['message']}" for fault in faults]


def test_check_may_leave_secrets_out(call, config):
    """A configuration can be checked where its secrets are not, in a pipeline for instance."""
    config.with_name("voyado.key").unlink()

    assert call("config", "check").exit_code == 78
    assert call("config", "check", "--without-secrets").exit_code == 0


def test_show_tells_value_and_origin_of_each_key(answer, config, monkeypatch):
    """The command line wins over the environment, that over conf.d, that over the file, that over the default."""
    drop_ins = config.with_name("conf.d")
    drop_ins.mkdir()
    (drop_ins / "10-site.toml").write_text('[queue]\nflush_every = "20s"\nbackoff_max = "1h"\n[log]\nlevel = "debug"\n')
    monkeypatch.setenv("LOYALTY_AGENT__QUEUE__BACKOFF_MAX", "30m")
    monkeypatch.setenv("LOYALTY_AGENT__LOG__LEVEL", "warning")

    shown = answer("config", "show", "--set", "log.level=error", "--set", 'loyalty.secondary_keys=["email"]')

    keys = {row["key"]: (row["value"], row["origin"]) for row in shown["keys"]}
    assert keys["agent.store_id"] == ("1042", str(config))
    assert keys["queue.flush_every"] == ("20s", str(drop_ins / "10-site.toml"))
    assert keys["queue.backoff_max"] == ("30m", "LOYALTY_AGENT__QUEUE__BACKOFF_MAX")
    assert keys["log.level"] == ("error", "the command line")
    assert keys["loyalty.secondary_keys"] == (["email"], "the command line")
    assert keys["queue.max_bytes"] == ("1GiB", "default")
    assert keys["voyado.api_version"] == (3, "default")
    assert shown["state_dir"] == str(config.parent / "state")


def test_show_covers_every_setting(answer):
    """No key of the agent or of its vendor is left out."""
    shown = {row["key"] for row in answer("config", "show")["keys"]}

    sections = {name: field.annotation for name, field in Settings.model_fields.items() if name != "messages"}
    sections["voyado"] = settings_models()["voyado"]
    assert shown == {f"{name}.{key}" for name, section in sections.items() for key in section.model_fields}


def test_show_never_shows_a_secret(call, configure):
    """A secret shows as its reference, the proxy's too."""
    configure(more='\n[http]\nproxy = "http://proxy.example.com:3128"\nproxy_secret = "file:proxy.key"\n')

    for form in ((), ("--json",)):
        shown = call("config", "show", *form).stdout
        assert "file:voyado.key" in shown
        assert "file:proxy.key" in shown
        assert "made-up-key" not in shown


def test_a_proxy_with_a_password_is_refused_and_not_repeated(call, configure):
    """A password in the proxy's address is a fault; it stands in no output."""
    configure(more='\n[http]\nproxy = "http://user:hushhush@proxy.example.com:3128"\n')

    for form in ((), ("--json",)):
        for command in ("check", "show"):
            done = call("config", command, *form)
            assert done.exit_code == 78
            assert "http.proxy_secret" in done.output
            assert "hushhush" not in done.output


def test_the_example_file_is_current(call):
    """config.example.toml is what `config example` prints."""
    assert EXAMPLE.read_text(encoding="utf-8") == call("config", "example", with_config=False).stdout


def test_the_example_says_what_the_defaults_are_and_loads(tmp_path):
    """The example is a sound configuration, and names every key once with its description."""
    text = EXAMPLE.read_text(encoding="utf-8")
    loaded = load(config=EXAMPLE, vendors=settings_models(), environ={}, secrets=False)

    parsed, owner = tomllib.loads(text), loaded.settings.loyalty.vendor
    vendors = {name: model for name, model in settings_models().items() if not model.not_loyalty}
    for name, section in {
        **{name: field.annotation for name, field in Settings.model_fields.items()},
        **vendors,
    }.items():
        if name == "messages":
            continue
        for key, field in section.model_fields.items():
            assert key in parsed.get(name, {}) or f"# {key} = " in text
            assert field.description.split()[0] in text
            if not field.is_required() and not field.examples and (name not in vendors or name == owner):
                table = loaded.vendor if name == owner else getattr(loaded.settings, name)
                assert getattr(table, key) == field.default


@pytest.mark.parametrize("page", ["README.md", "docs/first-sale.md"])
def test_a_first_configuration_is_sound_and_starts_as_a_service(call, configure, page):
    """What the pages tell to write has no fault, and each secret is one that the service is handed."""
    text = (EXAMPLE.parent / page).read_text(encoding="utf-8")
    tables = re.findall(r"^\[agent\]\n.*?(?=^(?:```|END)$)", text, re.DOTALL | re.MULTILINE)
    assert tables
    for table in tables:
        configure().write_text(table)
        assert json.loads(call("config", "check", "--without-secrets", "--json").stdout)["faults"] == []
        assert re.findall(r'"(file:/etc|env:)', table) == []
        assert '"credential:voyado-api-key"' in table


def test_a_copy_of_the_example_promises_nothing():
    """Tills that got the same file differ in what they are called: no number is made twice, no offer is given."""
    loaded = load(config=EXAMPLE, vendors=settings_models(), environ={}, secrets=False).settings

    assert loaded.enrol.prefix(loaded.agent.model_copy(update={"till_id": "04"})) == "1042-04-"
    assert (loaded.benefits.welcome, loaded.benefits.general) == ((), ())


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        *((name, f"forward.{name}") for name, model in settings_models().items() if not model.not_forward),
        *((name, name) for name, model in settings_models().items() if not model.not_loyalty and name != "voyado"),
    ],
)
def test_the_example_of_another_system_is_commented_out(name, heading):
    """Without its marks it is a sound table, with the defaults and every key."""
    text = EXAMPLE.read_text(encoding="utf-8")
    table = text.partition(f"# [{heading}]\n")[2].partition("\n\n")[0]
    model = settings_models()[name]

    stated = tomllib.loads("\n".join(re.findall(r"^# ([a-z_]+ = .*)$", table, re.MULTILINE)))

    assert stated.keys() == model.model_fields.keys()
    assert model.model_validate(stated) == model.model_validate(
        {key: value for key, value in stated.items() if model.model_fields[key].is_required()}
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (duration(timedelta(milliseconds=800)), "800ms"),
        (duration(timedelta(seconds=90)), "90s"),
        (duration(timedelta(days=14)), "14d"),
        (size(1 << 30), "1GiB"),
        (size(1500), "1500B"),
        (rate(Rate(None)), "off"),
        (rate(Rate(5.0)), "300/min"),
        (rate(Rate(10 / 3600)), "10/h"),
        (spelled((timedelta(seconds=1),)), ["1s"]),
        (toml(["a", True, 1.5, 'x"y']), '["a", true, 1.5, "x\\"y"]'),
        (toml({"a": "b", "c d": 1}), '{ a = "b", "c d" = 1 }'),
        (toml({}), "{}"),
    ],
)
def test_values_are_spelled_as_they_are_read(text, value):
    """A value in the configuration's own units."""
    assert text == value


def test_a_size_is_known_by_its_declaration():
    """A number of bytes is spelled in bytes, another number as it is."""
    fields = QueueSection.model_fields

    assert spelled(16 << 20, fields["reserve_bytes"]) == "16MiB"
    assert spelled(1024) == 1024
