"""What the demonstration counts at a further system: it must be able to tell bad news."""

import pytest

from agent.workbench.further import RECIPES, Further, Tally, tally
from tests.fakes import FakeClock


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({"a": 1, "b": 1}, Tally(made=2, delivered=2, doubled=0, lost=0)),
        ({"a": 1}, Tally(made=2, delivered=1, doubled=0, lost=1)),
        ({"a": 1, "b": 3}, Tally(made=2, delivered=2, doubled=2, lost=0)),
        ({"a": 1, "b": 1, "x": 1}, Tally(made=2, delivered=2, doubled=1, lost=0)),
        ({}, Tally(made=2, delivered=0, doubled=0, lost=2)),
    ],
    ids=["sound", "one lost", "one three times", "one that nobody made", "nothing"],
)
def test_what_a_system_has_is_held_against_what_it_should_have(held, told):
    """Each sale counts once: what is missing is lost, and what is too many is doubled."""
    assert tally({"a", "b"}, held) == told
    assert told.sound is (told.lost == told.doubled == 0)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_table_names_its_secrets_by_reference(tmp_path, name):
    """No credential stands in the configuration of the demonstration; its files are the owner's alone."""
    with Further(name, tmp_path, FakeClock()) as further:
        table = further.table()
    for setting, secret in RECIPES[name].secrets.items():
        file = tmp_path / table[setting].removeprefix("file:")
        assert secret not in table.values()
        assert (file.read_text().strip(), file.stat().st_mode & 0o777) == (secret, 0o600)


def test_returns_are_counted_where_they_have_a_name(tmp_path):
    """A vendor that is told only which sale a return is about is not asked for the return's own id."""
    made = {"a": "purchase", "r": "return"}
    counted = {}
    for name in sorted(RECIPES):
        with Further(name, tmp_path, FakeClock()) as further:
            counted[name] = further.count(made).made
    assert counted == {"antavo": 1, "mparticle": 2, "voucherify": 2}
