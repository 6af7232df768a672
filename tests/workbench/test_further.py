"""What the demonstration counts at a further system: it must be able to tell bad news."""

import json

import pytest

from agent.connectors.mparticle.activities import render_activity
from agent.connectors.mparticle.mapping import render_batch
from agent.domain.activity import ContactEvent
from agent.domain.identifiers import IdentifierType
from agent.workbench.further import RECIPES, Further, Tally, tally
from tests.connectors.mparticle.sales import NOW, make_activity, make_outgoing, make_sale, make_settings
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
    assert tally({"a": 1, "b": 1}, held) == told
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


SOCKS = {"kind": "return", "sku": "SK-77"}
BACK = [SOCKS, SOCKS, {**SOCKS, "sku": "SK-88"}]
MADE = {
    "a": {"transaction_id": "a", "type": "purchase", "lines": [{"kind": "purchase", "sku": "SK-77"}]},
    "r": {"transaction_id": "r", "type": "return", "original_transaction_id": "a", "lines": BACK},
}


def test_returns_are_counted_where_they_have_a_name(tmp_path):
    """Each product that came back where only the earlier sale is told; none where a person settles it."""
    counted = {}
    for name in sorted(RECIPES):
        with Further(name, tmp_path, FakeClock()) as further:
            counted[name] = further.count(MADE).made
    assert counted == {"antavo": 3, "monetary": 1, "mparticle": 2, "voucherify": 2}


@pytest.mark.parametrize(
    ("back", "told"),
    [
        (2, Tally(made=3, delivered=3, doubled=0, lost=0)),
        (1, Tally(made=3, delivered=2, doubled=0, lost=1)),
        (0, Tally(made=3, delivered=1, doubled=0, lost=2)),
        (3, Tally(made=3, delivered=3, doubled=1, lost=0)),
    ],
    ids=["sound", "one lost", "all lost", "one twice"],
)
def test_a_return_is_held_against_what_came_back(tmp_path, monkeypatch, back, told):
    """What is missing of a return is lost, and what was given back once too often is doubled."""
    with Further("antavo", tmp_path, FakeClock()) as further:
        events = [("checkout", {"transaction_id": "a"})] + [("refund_item", {"transaction_id": "a"})] * back
        applied = [{"action": action, "data": data} for action, data in events]
        monkeypatch.setattr(further._simulator.books, "applied", applied)
        assert further.count(MADE) == told


def test_what_waits_for_a_person(tmp_path):
    """A vendor that takes nothing back leaves returns to a person; the others have them."""
    left = {}
    for name in sorted(RECIPES):
        with Further(name, tmp_path, FakeClock()) as further:
            left[name] = further.left_to_a_person(MADE.values())
    assert left == {"antavo": set(), "monetary": {"r"}, "mparticle": set(), "voucherify": set()}


@pytest.mark.parametrize(("times", "doubled"), [(1, 0), (2, 1)], ids=["once", "twice"])
def test_who_joined_is_no_sale(tmp_path, times, doubled):
    """What a system is told beside the sales is neither lost nor one too many, unless it counts twice."""
    clock = FakeClock()
    sold = render_batch(make_outgoing(), make_settings(), primary=IdentifierType.MEMBER_NUMBER, now=NOW)
    news = make_activity(type=ContactEvent.JOINED)
    told = render_activity(make_outgoing(news), news, make_settings(), primary=IdentifierType.MEMBER_NUMBER, now=NOW)
    with Further("mparticle", tmp_path, clock) as further:
        for place, body in enumerate([sold.body, *[told.body] * times]):
            batch = {**json.loads(body), "source_request_id": str(place)}
            further._simulator.take(batch, key="demo-key", call="events")
        made = {make_sale().transaction_id: {"transaction_id": make_sale().transaction_id, "type": "purchase"}}
        assert further.count(made) == Tally(made=1, delivered=1, doubled=doubled, lost=0)
