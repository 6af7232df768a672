"""`support-bundle`: what is in it, what never is, and that it is looked through before it is written."""

from __future__ import annotations

import json
import stat
import zipfile

import pytest

from agent.doctor import bundle

EVERY_PART = {"README.txt", *bundle.PARTS} - {"log.jsonl"}  # no journal of a service on a developer's machine


def opened(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_of_a_running_agent(running, tmp_path):
    """Every part is there and is text; the file is its owner's alone, and none of the till's secrets is in it."""
    path = tmp_path / "bundle.zip"
    status, told = running.run("support-bundle", "--output", str(path), "--json")

    assert status == 0
    parts = opened(path)
    assert set(parts) == EVERY_PART
    assert json.loads(told)["parts"] == {name: len(text.encode()) for name, text in parts.items()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(parts["status.json"])["state"] == "online"
    assert "loyalty_agent_build_info" in parts["metrics.txt"]
    assert {row["check"] for row in json.loads(parts["doctor.json"])} >= {"outbox", "agent"}
    for secret in ("sim-key", (running.state / "cli.token").read_text().strip()):
        assert not any(secret in text for text in parts.values())


def test_of_a_stopped_agent(till, tmp_path):
    """What its files tell takes the place of what it would say."""
    path = tmp_path / "bundle.zip"
    assert till.run("support-bundle", "--output", str(path))[0] == 0

    parts = opened(path)
    assert json.loads(parts["status.json"])["files"]["outbox"]["bytes"] > 0
    assert not {"queue.json", "metrics.txt"} & set(parts)


def test_of_a_configuration_that_cannot_be_read(till, tmp_path):
    """Its faults are what support has to see."""
    till.write("[nonsense]\n")
    path = tmp_path / "bundle.zip"
    assert till.run("support-bundle", "--output", str(path))[0] == 0

    assert set(opened(path)) == {"README.txt", "doctor.json", "versions.json"}


def test_it_can_be_read_first(till, tmp_path, monkeypatch):
    """`--show` prints everything and writes nothing."""
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*.zip"))
    status, told = till.run("support-bundle", "--show")

    assert status == 0
    assert "===== configuration.json =====" in told
    assert set(tmp_path.rglob("*.zip")) == before


def test_no_file_is_written_over(till, tmp_path):
    """A file that is there stays as it is."""
    path = tmp_path / "bundle.zip"
    path.write_text("mine")

    assert till.run("support-bundle", "--output", str(path))[0] == 74
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "more",
    ['source = "sim-key"\n', 'source = "sim-key@example.com"\n'],
    ids=["a secret", "a secret in an address"],
)
def test_what_must_not_be_in_it(till, tmp_path, more):
    """A secret that came into a part by whatever way: nothing is written, and the value is not told."""
    till.write(more)
    (till.root / "voyado.key").write_text("sim-key")
    path = tmp_path / "bundle.zip"
    status, told = till.run("support-bundle", "--output", str(path), "--json")

    assert status == 1
    assert json.loads(told)["error"]["code"] == "bundle.refused"
    assert not path.exists()
    assert "configuration.json" in told
    assert more.split('"')[1] not in told


def test_people_in_what_is_our_own(till, tmp_path):
    """An address in a setting, or in the name of a key that is at fault, keeps support from no bundle: it is masked."""
    path = tmp_path / "bundle.zip"
    for more in ('source = "alma@example.com"\n', '[api.socket_users]\n"kassa@ad.example.com" = "boss"\n'):
        till.write(more)
        assert till.run("support-bundle", "--output", str(path))[0] == 0
        parts = opened(path)
        path.unlink()
        assert not any("example.com" in text for text in parts.values())
        assert "[an e-mail address]" in parts["doctor.json"] + parts.get("configuration.json", "")


def test_people_elsewhere():
    """In what the agent or its log says there can be none: it is refused, and what is masked stays JSON."""
    said = json.dumps({"x": "Kassa:\nalma@example.com\t+46701740605"})

    assert bundle.leaks(dict.fromkeys(("status.json", "doctor.json"), said), []) == ["status.json: an e-mail address"]
    told = json.loads(bundle.masked({"doctor.json": said})["doctor.json"])
    assert told == {"x": "Kassa:\n[an e-mail address]\t+46701740605"}
    assert bundle.masked({"doctor.json": "+46701740605"}) == {"doctor.json": "[a phone number]"}


def test_settings_of_a_shop_s_own():
    """Of an address no user, of a home no name, of a text its length; a secret is a reference anyway."""
    rows = [
        {"key": "voyado.feed", "value": "sftp://acme@ftp.example.com/out", "origin": "/home/alma/config.toml"},
        {"key": 'messages."loyalty.stale.staff.sv-SE"', "value": "Ring Alma", "origin": "default"},
        {"key": "agent.support", "value": "IT, +46846500410", "origin": "default"},
        {"key": "agent.welcome", "value": "", "origin": "default"},
        {"key": "voyado.api_key", "value": "credential:voyado-api-key", "origin": "default"},
    ]

    assert json.loads(bundle.configuration_part(rows)) == [
        {"key": "voyado.feed", "value": "sftp://ftp.example.com/out", "origin": "/home/.../config.toml"},
        {"key": 'messages."loyalty.stale.staff.sv-SE"', "value": "a text of 9 characters", "origin": "default"},
        {"key": "agent.support", "value": "a text of 16 characters", "origin": "default"},
        {"key": "agent.welcome", "value": "", "origin": "default"},
        {"key": "voyado.api_key", "value": "credential:voyado-api-key", "origin": "default"},
    ]


def test_a_delivery_s_row():
    """Its ids, states, times and codes; not what a vendor wrote of it, nor what a later version adds."""
    error = {"code": "vendor.rejected", "status": 422, "title": "Alma", "vendor_code": "X"}
    entry = {"entry": 7, "transaction_id": "t-1", "vendor": "voyado", "state": "parked", "name": "Alma"}

    (told,) = json.loads(bundle.queue_part([{**entry, "last_error": error}]))

    assert told["last_error"] == {"code": "vendor.rejected", "status": 422}
    assert "Alma" not in str(told)
    assert set(told) == {*bundle.OF_AN_ENTRY, "last_error"}


def test_lines_of_the_log():
    """Lines of our own, with the fields that a log may have; others' are left out."""
    lines = ["Started loyalty-agent.", '{"event": "sale.accepted", "vendor": "voyado", "phone": "x"}', "[1]", '"x"']

    assert bundle.log_part(lines) == '{"event": "sale.accepted", "vendor": "voyado"}'


def test_a_secret_in_json():
    """One with characters that JSON spells otherwise is found as well."""
    secret = 'p"ss\\wörd'

    assert bundle.leaks({"a.json": json.dumps({"x": secret})}, [secret]) == ["a.json: a secret"]
    assert bundle.leaks({"a.txt": f"-{secret}-"}, [secret]) == ["a.txt: a secret"]
    assert bundle.leaks({"a.txt": "abc"}, ["abc"]) == []
