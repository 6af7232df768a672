"""`privacy erase|export` and `audit verify`, without a running agent or with one that is played."""

import io
import json
import stat
from datetime import UTC, datetime

import pytest

from agent.cli import privacy
from agent.errors import StorageError
from agent.store.audit import AuditTrail

NOW = datetime(2026, 11, 20, 9, 5, 12, tzinfo=UTC)
PHONE = "+46701740605"
ERASED = {
    "counts": {
        "contacts": 1,
        "sales_waiting": 0,
        "sales_finished": 0,
        "activities": 0,
        "redemptions": 0,
        "notes": 0,
        "kept_files": 0,
        "file_rows": 0,
    },
    "receipt": {
        "id": "9f86d081",
        "erased_at": "2026-11-20T09:05:12Z",
        "removed": [{"where": "replica.db", "what": "contact", "count": 1}],
        "requests": [{"vendor": "mparticle", "id": "erasure-9f86d081"}],
        "audit": {"seq": 7, "hash": "a" * 64},
    },
}
EXPORTED = {"counts": {"contacts": 1, "sales": 2, "withheld": 0, "audit": 0}, "contacts": [{"name": "Ålma"}]}


@pytest.fixture
def daemon(monkeypatch):
    """A running agent that answers as told; what it was asked."""

    class Played:
        asked, answer = [], ERASED

        def __init__(self, _configuration, *, timeout_s):
            assert timeout_s > 60

        def __enter__(self):
            return self

        def __exit__(self, *_exc):
            pass

        def post(self, path, body):
            self.asked.append((path, body))
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    Played.asked = []
    monkeypatch.setattr(privacy, "Daemon", Played)
    return Played


def test_who_it_is_comes_from_standard_input(call, daemon):
    """The value is read there, blanks dropped, and the receipt is told."""
    done = call("privacy", "erase", "--type", "mobile_phone", stdin=f"  {PHONE}\n")

    assert done.exit_code == 0
    assert daemon.asked == [("/v1/privacy/erase", {"identifier": {"type": "mobile_phone", "value": PHONE}})]
    assert "receipt 9f86d081" in done.stdout
    assert "replica.db" in done.stdout
    assert PHONE not in done.output


def test_nobody_known_is_said(call, daemon):
    """A receipt for nothing says that nobody is known."""
    daemon.answer = {**ERASED, "receipt": {**ERASED["receipt"], "removed": []}}
    assert "Nobody is known" in call("privacy", "erase", stdin=PHONE).stdout


def test_a_receipt_in_json(answer, daemon):
    """With --json the answer is the door's."""
    assert answer("privacy", "erase", stdin=PHONE) == ERASED


@pytest.mark.parametrize("command", [("erase",), ("export", "--json")])
@pytest.mark.parametrize("given", ["", "  \n", f"{PHONE}\n{PHONE}\n"], ids=["nothing", "blanks", "two lines"])
def test_one_identifier_is_needed(call, daemon, command, given):
    """Nothing, or more than one line, is wrong usage, and nobody is asked."""
    done = call("privacy", *command, stdin=given)
    assert done.exit_code == 64
    assert daemon.asked == []
    assert PHONE not in done.output


def test_a_value_is_no_argument(call, daemon):
    """An identifier on the command line is refused: it would stand in the list of processes."""
    assert call("privacy", "erase", PHONE).exit_code == 64
    assert daemon.asked == []


@pytest.mark.parametrize(("said", "asked"), [("y\n", 1), ("n\n", 0), ("\n", 0)], ids=["yes", "no", "nothing"])
def test_at_a_terminal_it_asks_again(call, daemon, monkeypatch, said, asked):
    """Erasing cannot be undone: at a prompt it is confirmed, unless --yes was given."""
    monkeypatch.setattr(privacy, "_at_a_terminal", lambda: True)
    call("privacy", "erase", stdin=f"{PHONE}\n{said}")
    assert len(daemon.asked) == asked
    call("privacy", "erase", "--yes", stdin=f"{PHONE}\n")
    assert len(daemon.asked) == asked + 1


def test_an_export_goes_into_a_new_file(call, daemon, tmp_path):
    """A file that its owner alone can read; the figures are told, the person is not."""
    daemon.answer = EXPORTED
    path = tmp_path / "person.json"
    done = call("privacy", "export", "--output", path, stdin=PHONE)

    assert done.exit_code == 0
    assert json.loads(path.read_text(encoding="utf-8")) == EXPORTED
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "1 contacts, 2 sales" in done.stdout
    assert "Ålma" not in done.output


def test_an_export_replaces_nothing(call, daemon, tmp_path):
    """A file that is there stays as it is, and nobody is asked."""
    path = tmp_path / "person.json"
    path.write_text("another's")
    done = call("privacy", "export", "--output", path, stdin=PHONE)
    assert done.exit_code == 74
    assert (path.read_text(), daemon.asked) == ("another's", [])


def test_a_failed_export_leaves_no_file(call, daemon, tmp_path):
    """Half an export is none."""
    daemon.answer = StorageError("the file cannot be read")
    done = call("privacy", "export", "--output", tmp_path / "person.json", stdin=PHONE)
    assert done.exit_code == 74
    assert not (tmp_path / "person.json").exists()


def test_an_export_is_not_shown_by_accident(call, daemon):
    """Without a file and without --json there is nowhere for it to go."""
    done = call("privacy", "export", stdin=PHONE)
    assert (done.exit_code, daemon.asked) == (64, [])


def test_an_export_on_standard_output(answer, daemon):
    """With --json alone the whole export is printed, for a program to take."""
    daemon.answer = EXPORTED
    assert answer("privacy", "export", stdin=PHONE) == EXPORTED


def test_without_an_agent(call):
    """Who cannot be asked erases nothing: 2."""
    assert call("privacy", "erase", stdin=PHONE).exit_code == 2


# --- the audit trail --------------------------------------------------------------------------------------------


@pytest.fixture
def trail(config):
    (config.parent / "state").mkdir(mode=0o700)
    return AuditTrail(config.parent / "state")


def test_a_trail_is_verified(call, answer, trail):
    """An intact trail ends with 0, its head shown; so is one in which nothing was recorded yet."""
    assert call("audit", "verify").exit_code == 0
    heads = [trail.append("token.added", NOW, {"name": name}) for name in ("pos-1", "pos-2")]
    assert answer("audit", "verify") == {
        "ok": True, "entries": 2, "first": 1, "head": {"seq": 2, "hash": heads[1].hash}, "fault": None, "at_seq": None,
        "incidents": 0, "anchored": False,
    }  # fmt: skip
    told = call("audit", "verify").stdout
    assert f"head 2:{heads[1].hash}" in told
    assert "cannot be read" in told
    assert call("audit", "verify", "--head", f"1:{heads[0].hash}").exit_code == 0


@pytest.mark.parametrize(
    ("head", "status"),
    [(f"1:{'a' * 64}", 1), (f"3:{'a' * 64}", 1), ("x", 64), ("x:y", 64)],
    ids=["another history", "cut", "no head", "no number"],
)
def test_a_head_noted_elsewhere_must_be_in_it(call, trail, head, status):
    """What a receipt says must stand in the trail; what is no head is wrong usage."""
    trail.append("token.added", NOW, {"name": "pos-1"})
    assert call("audit", "verify", "--head", head).exit_code == status


def test_a_changed_trail_is_told(call, answer, trail, config):
    """A trail that was edited ends with 1, and says where."""
    for name in ("pos-1", "pos-2", "pos-3"):
        trail.append("token.added", NOW, {"name": name})
    path = config.parent / "state" / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b"pos-1", b"pos-9"))

    assert call("audit", "verify").exit_code == 1
    found = answer("audit", "verify")
    assert (found["ok"], found["fault"], found["at_seq"]) == (False, "altered", 2)
    assert "entry 2" in call("audit", "verify").stdout


def test_the_prompt_is_on_standard_error(call, daemon, monkeypatch):
    """Standard output holds the answer alone, so that it can be taken by a program."""
    monkeypatch.setattr(privacy, "_at_a_terminal", lambda: True)
    done = call("privacy", "erase", "--yes", "--json", stdin=f"{PHONE}\n")
    assert json.load(io.StringIO(done.stdout)) == ERASED
