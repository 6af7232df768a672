"""`campaign create` and `campaign send`: money is given away once, and what came of it is said as it is."""

import json
from datetime import UTC, datetime

import pytest

from agent.cli.main import program
from agent.connectors.monetary.simulator import HOLDING, Fault, MonetarySimulator, ThreadedSimulator

LOCATION_KEY, HOLDING_KEY = "test-location", "test-holding"
FORWARD = '\n[forward.monetary]\nbase_url = "{url}/v1"\nsecret_key = "file:monetary.key"\n'
TERMS = ("--amount-off", "10.05", "--minimum-purchase", "50", "--days", "31")
CREATED = {
    "outcome": "done",
    "status": 200,
    "campaign_id": 1,
    "amount_off": "10.05",
    "minimum_purchase": "50",
    "days": 31,
    "group": False,
}


@pytest.fixture(name="account")
def _account(tmp_path):
    """An account on loopback with two customers, of whom the first has bought something."""
    sim = MonetarySimulator({LOCATION_KEY: "location-1", HOLDING_KEY: HOLDING}, now=lambda: datetime.now(UTC))
    for member in range(2):
        sim.add_customer(ExternalID=f"1000042{member}")
    with sim.lock:
        line = {"SKU": "SK-77", "Amount": 100, "Quantity": 1}
        sim.take_receipt({"CustomerID": 101, "Skus": [line], "SubTotal": 100, "Total": 100}, "location-1")
    with ThreadedSimulator(sim) as server:
        sim.server, sim.key = server, tmp_path / "monetary.key"
        sim.key.write_text(LOCATION_KEY)
        yield sim


@pytest.fixture
def config(configure, account):
    """A configuration with the account beside another loyalty system."""
    return configure(more=FORWARD.format(url=account.server.url))


def test_a_campaign_and_its_offers(account, answer):
    """Made at the key's location, sent once to each who is listed; who has bought there gets an offer."""
    assert answer("campaign", "create", *TERMS, "--yes") == CREATED
    assert account.offers.campaigns[1]["IsLocationSpecific"] is True
    sent = answer("campaign", "send", 1, "--yes", stdin="101\n102, 101\n")
    assert sent == {"outcome": "done", "status": 204, "campaign_id": 1, "customers": 2}
    [offer] = account.offers.of(101, account.now())
    assert (offer["DiscountAmount"], offer["MinimumPurchase"]) == (10.05, 50)
    assert account.offers.of(102, account.now()) == []


def test_a_campaign_of_the_group(account, call, answer):
    """The holding business alone makes one; it reaches whoever is registered, from a file as well."""
    refused = call("campaign", "create", *TERMS, "--group", "--yes")
    assert (refused.exit_code, refused.stdout) == (1, "Monetary refuses a campaign (403): nothing was done.\n")
    account.key.write_text(HOLDING_KEY)
    assert answer("campaign", "create", *TERMS, "--group", "--yes") == {**CREATED, "group": True}
    listed = account.key.with_name("customers.txt")
    listed.write_text("\ufeff102\r\n")
    sent = call("campaign", "send", 1, "--file", listed, "--yes")
    assert (sent.exit_code, sent.stdout) == (0, "sent campaign 1 to 1 customers; who gets one Monetary decides\n")
    assert len(account.offers.of(102, account.now())) == 1


@pytest.mark.parametrize("command", ["create", "send"])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "drop", "after_processing": True}, ("unknown", None, 1)),
        ({"kind": "answer", "status": 500}, ("unknown", 500, 1)),
        ({"kind": "answer", "status": 202, "body": "json"}, ("unknown", 202, 1)),
        ({"kind": "answer", "status": 200, "body": "html"}, ("unknown", 200, 1)),
        ({"kind": "answer", "status": 408}, ("unknown", 408, 1)),
        ({"kind": "answer", "status": 429}, ("unreachable", 429, 74)),
        ({"kind": "answer", "status": 302}, ("unreachable", 302, 74)),
        ({"kind": "answer", "status": 401}, ("refused", 401, 1)),
        ({"kind": "answer", "status": 400}, ("refused", 400, 1)),
    ],
    ids=lambda value: str(value.get("status", value["kind"])) if isinstance(value, dict) else None,
)
def test_what_is_not_done(account, call, command, fault, expected):
    """It is told as what it is, and never sent again."""
    with account.lock:
        account.faults.append(Fault(path="/*/[Cc]ampaigns/*", **fault))
    arguments = TERMS if command == "create" else (1,)
    told = call("campaign", command, *arguments, "--yes", "--json", stdin="101")
    document = json.loads(told.stdout)
    assert (document["outcome"], document["status"], told.exit_code) == expected
    words = call("campaign", command, *arguments, "--yes", stdin="101").stdout
    assert ("ask Monetary before you try again" in words) is (expected[0] == "unknown")
    assert ("nothing was done" in words) is (expected[0] != "unknown")
    assert len(account.offers.campaigns) == (2 if fault["kind"] == "drop" and command == "create" else 0)


def test_nobody_there(account, call):
    """Nothing was done: it can be tried again."""
    account.server.stop()
    told = call("campaign", "create", *TERMS, "--yes", "--json")
    assert (json.loads(told.stdout)["outcome"], told.exit_code) == ("unreachable", 74)


def test_a_command_that_is_stopped(account, call, monkeypatch):
    """Whoever stops it while it waits is told that it may have been done."""

    async def stopped(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("agent.connectors.monetary.campaigns.MonetaryCampaigns.create", stopped)
    told = call("campaign", "create", *TERMS, "--yes", "--json")
    assert (json.loads(told.stdout)["outcome"], told.exit_code) == ("unknown", 1)


@pytest.mark.parametrize(
    ("stdin", "says"),
    [
        ("", "There is no CustomerID in it"),
        ("101\n-5\n102\nalma@example.com 1.5", "place 2, 4, 5 is no CustomerID"),
        ("9" * 20, "place 1 is no CustomerID"),
        (b"\xff\xfe101", "place 1 is no CustomerID"),
        ("x " * 9, "place 1, 2, 3, 4, 5, ... is no CustomerID"),
        ("1 " * 100_001, "send them in parts"),
    ],
    ids=["empty", "no numbers", "too large", "no text", "many", "too many"],
)
def test_a_list_that_is_none(account, call, stdin, says):
    """None of it is sent, and what stands in it is not repeated."""
    told = call("campaign", "send", 1, "--yes", stdin=stdin)
    assert (told.exit_code, says in told.stderr) == (64, True)
    assert "alma" not in told.output
    assert not [name for name in account.requests if "campaigns" in name]


@pytest.mark.parametrize(
    "terms",
    [
        ("--amount-off", "0", *TERMS[2:]),
        ("--amount-off", "-1", *TERMS[2:]),
        ("--amount-off", "1.005", *TERMS[2:]),
        ("--amount-off", "NaN", *TERMS[2:]),
        (*TERMS[:4], "--days", "0"),
        TERMS[:4],
    ],
    ids=["nothing", "less", "a fraction", "no number", "no day", "no end"],
)
def test_terms_that_are_none(account, call, terms):
    """They are refused before anybody is asked."""
    assert call("campaign", "create", *terms, "--yes").exit_code == 64
    assert not account.offers.campaigns


def test_somebody_has_to_say_yes(account, call, monkeypatch):
    """Where nobody can be asked it is an option; whoever is asked and says no has made nothing."""
    assert call("campaign", "create", *TERMS).exit_code == 64
    assert call("campaign", "send", 1, stdin="101").exit_code == 64
    monkeypatch.setattr("agent.cli.campaign._at_a_terminal", lambda: True)
    told = call("campaign", "create", *TERMS, stdin="n\n")
    assert (told.exit_code, "10.05 off from 50 on, for 31 days, at the location of the key" in told.stderr) == (1, True)
    assert call("campaign", "send", 1).exit_code == 64
    assert not account.offers.campaigns
    assert call("campaign", "create", *TERMS, stdin="y\n").exit_code == 0
    assert len(account.offers.campaigns) == 1


def test_what_cannot_be_read(account, call):
    """A file that is not there, a key that is not, and a configuration without Monetary."""
    assert call("campaign", "send", 1, "--file", account.key.with_name("none"), "--yes").exit_code == 74
    account.key.unlink()
    told = call("campaign", "create", *TERMS, "--yes")
    assert (told.exit_code, "cannot be read" in told.stderr) == (1, True)
    assert not account.requests


def test_without_monetary(configure, call):
    """There is nobody to make a campaign with."""
    configure()
    told = call("campaign", "create", *TERMS, "--yes")
    assert (told.exit_code, "forward.monetary" in told.stderr) == (64, True)
    assert program.get_command(None, "campaign") is not None
