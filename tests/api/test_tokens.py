"""Tokens: hashed on disk, and who holds one."""

import asyncio
import hashlib
import hmac
import json
import re
import stat

import pytest

from agent import tokens as module
from agent.errors import InputError, StorageDamagedError, StorageError, UnknownRecordError
from agent.tokens import LOOK_EVERY_S, Tokens, forget_own, read_own


class Clock:
    """A monotonic clock moved by hand."""

    def __init__(self):
        self.mono = 0.0

    def monotonic(self):
        return self.mono

    def now(self):
        from datetime import UTC, datetime

        return datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens(tmp_path, clock):
    return Tokens(tmp_path, clock)


def test_a_token_is_shown_once_and_kept_as_a_hash(tokens, tmp_path):
    """The secret is 32 random bytes behind a readable prefix; the file, 0600, holds its SHA-256 alone."""
    secret = tokens.add("till-03", "pos")
    text = (tmp_path / "tokens.json").read_text()

    assert re.fullmatch(r"la_pos_[A-Za-z0-9_-]{43}", secret)
    assert secret not in text
    assert hashlib.sha256(secret.encode()).hexdigest() in text
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600
    assert secret not in repr(tokens.list())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_only_the_whole_secret_is_taken(tokens):
    """A token is known by its whole secret, and by nothing near it."""
    secret = tokens.add("till-03", "pos")
    assert tokens.verify(secret).name == "till-03"
    for wrong in (
        "",
        secret[:-1],
        secret + "x",
        secret.upper(),
        secret.replace("pos", "admin"),
        "\udcff",
        "x" * 10_000,
    ):
        assert tokens.verify(wrong) is None


def test_scopes(tokens):
    """Admin includes pos; pos does not include admin."""
    pos, admin = tokens.verify(tokens.add("a", "pos")), tokens.verify(tokens.add("b", "admin"))
    assert (pos.may("pos"), pos.may("admin"), admin.may("pos"), admin.may("admin")) == (True, False, True, True)


def test_comparison_is_constant_time_over_all(tokens, monkeypatch):
    """Every token is compared, by hmac.compare_digest, whichever one it is."""
    secrets = [tokens.add(f"t{number}", "pos") for number in range(3)]
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(module.hmac, "compare_digest", lambda a, b: compared.append(1) or compare(a, b))
    for secret in [*secrets, "wrong"]:
        compared.clear()
        tokens.verify(secret)
        assert len(compared) == 3


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "å", "a/b", "a\n", "cli"])
def test_names(tokens, name):
    """A name is a short word, and the daemon's own is taken."""
    with pytest.raises(InputError):
        tokens.add(name, "pos")


def test_a_name_is_unique_until_revoked(tokens):
    """A name stands for one token; after revoking it is free again, and the old token stays refused."""
    old = tokens.add("till-03", "pos")
    with pytest.raises(InputError):
        tokens.add("till-03", "admin")
    tokens.revoke("till-03")
    new = tokens.add("till-03", "pos")
    assert tokens.verify(old) is None
    assert tokens.verify(new) is not None
    with pytest.raises(UnknownRecordError):
        tokens.revoke("till-04")


def test_two_tokens_of_a_name_while_one_replaces_the_other(tokens):
    """A new one is made beside the old one, of its scope; the old one alone is ended; a third is never made."""
    old = tokens.add("till-03", "pos")
    new = tokens.rotate("till-03")
    assert [(tokens.verify(secret).name, tokens.verify(secret).scope) for secret in (old, new)] == [
        ("till-03", "pos")
    ] * 2
    for third in (tokens.rotate, lambda name: tokens.add(name, "pos")):
        with pytest.raises(InputError):
            third("till-03")
    assert len(tokens.list()) == 2
    tokens.revoke("till-03", old=True)
    assert tokens.verify(old) is None
    assert tokens.verify(new) is not None
    with pytest.raises(UnknownRecordError, match="one token of that name"):
        tokens.revoke("till-03", old=True)
    with pytest.raises(UnknownRecordError):
        tokens.rotate("till-04")


def test_revoking_a_name_ends_both_of_its_tokens(tokens):
    """Whoever may not know which one leaked ends all of them; other names go on."""
    other = tokens.add("till-04", "pos")
    both = tokens.add("till-03", "admin"), tokens.rotate("till-03")
    tokens.revoke("till-03")
    assert [tokens.verify(secret) for secret in both] == [None, None]
    assert tokens.verify(other) is not None


def test_a_token_is_held_until_it_is_revoked(tokens, tmp_path, clock):
    """By its secret, not its name: one made anew under the name is another. What a command does counts soon."""
    tokens.make_own()
    own = tokens.verify(read_own(tmp_path))
    old = tokens.verify(tokens.add("till-03", "pos"))
    assert (tokens.holds(old), tokens.holds(own)) == (True, True)
    command = Tokens(tmp_path, clock)
    command.revoke("till-03")
    command.add("till-03", "pos")
    clock.mono += LOOK_EVERY_S
    assert (tokens.holds(old), tokens.holds(own)) == (False, True)


def test_another_process_is_noticed_within_half_a_second(tokens, tmp_path, clock):
    """What a command adds or revokes while the daemon runs counts within half a second, without a restart."""
    command = Tokens(tmp_path, clock)
    assert tokens.verify("x") is None
    secret = command.add("till-03", "pos")
    clock.mono += LOOK_EVERY_S
    assert tokens.verify(secret) is not None
    command.revoke("till-03")
    clock.mono += LOOK_EVERY_S
    assert tokens.verify(secret) is None
    assert LOOK_EVERY_S <= 0.5


def test_a_new_token_counts_at_once(tokens, tmp_path, clock, monkeypatch):
    """Whoever adds one may use it in the next line; a secret that nobody has reads nothing that it has read before."""
    assert tokens.verify("x") is None
    secret = Tokens(tmp_path, clock).add("till-03", "pos")
    assert tokens.verify(secret).name == "till-03"
    read = []
    monkeypatch.setattr(module, "_load", lambda path, load=module._load: read.append(1) or load(path))
    for _ in range(10):
        assert tokens.verify("x") is None
    assert read == []


def test_the_file_is_not_read_at_every_call(tokens, tmp_path, clock, monkeypatch):
    """Between two looks the file is not touched, and an unchanged one is not read again."""
    secret = tokens.add("till-03", "pos")
    read = []
    monkeypatch.setattr(module, "_load", lambda path, load=module._load: read.append(1) or load(path))
    for _ in range(10):
        tokens.verify(secret)
        clock.mono += LOOK_EVERY_S
    assert len(read) == 1


def row(**changes):
    whole = {"name": "a", "scope": "pos", "sha256": "00" * 32, "created_at": "2026-01-01T00:00:00Z"}
    return json.dumps({"tokens": [whole | changes]}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff", b"[]", b"null", b'{"tokens": {}}', b'{"tokens": [{}]}', b'{"tokens": [null]}',
        b"[" * 100_000, row(scope="root"), row(sha256="00"), row(sha256="x"), row(name=7), row(name="a b"),
        row(created_at="2026-01-01"),
    ],
)  # fmt: skip
def test_a_damaged_file_opens_to_nobody(tokens, tmp_path, clock, content):
    """A file that is not what was written refuses every token, says so, is not overwritten, and heals by itself."""
    secret = tokens.add("till-03", "pos")
    assert tokens.verify(secret) is not None
    whole = (tmp_path / "tokens.json").read_bytes()
    (tmp_path / "tokens.json").write_bytes(content)
    clock.mono += LOOK_EVERY_S

    assert tokens.verify(secret) is None
    assert tokens.damaged
    with pytest.raises(StorageDamagedError):
        tokens.add("till-04", "pos")
    assert (tmp_path / "tokens.json").read_bytes() == content
    (tmp_path / "tokens.json").write_bytes(whole)
    clock.mono += LOOK_EVERY_S
    assert tokens.verify(secret) is not None
    assert not tokens.damaged


async def test_it_is_told_though_nobody_calls(tmp_path, clock):
    """Once when the file is damaged, and once when it is whole again."""
    told = []
    tokens = Tokens(tmp_path, clock, told=told.append)
    tokens.add("till-03", "pos")
    whole = (tmp_path / "tokens.json").read_bytes()
    for content in (whole, b"{", b"[", whole, whole):
        (tmp_path / "tokens.json").write_bytes(content)
        clock.mono += LOOK_EVERY_S
        watching = asyncio.create_task(tokens.watch())
        await asyncio.sleep(0)
        watching.cancel()
    assert told == [True, False]


def test_a_directory_that_cannot_be_written_is_a_storage_error(tmp_path, clock):
    """A state directory that is not there is said so, and nothing is half-written."""
    with pytest.raises(StorageError):
        Tokens(tmp_path / "none", clock).add("till-03", "pos")


def test_the_daemons_own_token(tokens, tmp_path):
    """The daemon makes itself an admin token at each start, 0600 in cli.token; the one before is refused then."""
    assert read_own(tmp_path) is None
    first = tokens.make_own()
    assert stat.S_IMODE((tmp_path / "cli.token").stat().st_mode) == 0o600
    assert read_own(tmp_path) == first
    assert tokens.verify(first).may("admin")
    second = tokens.make_own()
    assert tokens.verify(first) is None
    assert tokens.verify(second).name == "cli"
    assert tokens.list() == ()
    forget_own(tmp_path)
    assert read_own(tmp_path) is None


async def test_two_commands_at_once_do_not_undo_each_other(tmp_path, clock):
    """Tokens added at the same time are all there afterwards."""
    adding = [asyncio.to_thread(Tokens(tmp_path, clock).add, f"t{number}", "pos") for number in range(8)]
    await asyncio.gather(*adding)
    assert {token.name for token in Tokens(tmp_path, clock).list()} == {f"t{number}" for number in range(8)}


async def test_a_revoked_token_is_refused_at_the_door_within_a_second(house):
    """While the agent runs, a token added by a command works within a second and stops working within a second."""
    command = Tokens(house.state_dir, house.clock)
    headers = {"authorization": f"Bearer {command.add('new', 'pos')}"}
    house.clock.mono += 1.0
    assert (await house.http.get("/v1/status", headers=headers)).status_code == 200
    command.revoke("new")
    house.clock.mono += 1.0
    assert (await house.http.get("/v1/status", headers=headers)).status_code == 401


@pytest.mark.parametrize("unreadable", [False, True], ids=["revoked", "file-damaged"])
async def test_an_event_stream_ends_with_its_token(house, unreadable):
    """A listener whose token is no longer valid hears the end of the stream; another's goes on, and the page's too."""
    command = Tokens(house.state_dir, house.clock)
    leaving = {"authorization": f"Bearer {command.add('leaving', 'pos')}"}
    house.clock.mono += 1.0
    async with (
        asyncio.timeout(30),
        house.http.stream("GET", "/v1/events", headers=leaving) as ending,
        house.http.stream("GET", "/page/events") as page,
        house.admin.stream("GET", "/v1/events") as other,
    ):
        heard = ending.aiter_text()
        others = [stream.aiter_text() for stream in (page, other)]
        for stream in (heard, *others):
            assert "event: status" in await anext(stream)
        if unreadable:
            (house.state_dir / "tokens.json").write_text("{")
        else:
            command.revoke("leaving")
        house.clock.mono += 1.0
        assert [text async for text in heard] == []  # a proper end, no cut
        house.rooms.status.changed()
        for stream in others[: 1 if unreadable else 2]:
            while "event: status" not in await anext(stream):
                pass
