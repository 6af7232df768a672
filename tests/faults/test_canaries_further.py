"""Canaries beside the sale: who joins at the till, what they use up, whom further systems hear of, and other owners."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from e2e.further import LINE, System, now
from e2e.shop import eventually
from e2e.traces import NUMBER, OF_OTHERS, OF_ZAPHIRA, SAID, YLVALI, enrol, found_in, left_in
from faults.journey import BARE, KEPT, NAME, PHONE, PROBE, TENANT, everything_said
from faults.tempwatch import watching
from faults.visits import (
    BRAMSELIA,
    ODVINDA,
    OF_BRAMSELIA,
    OF_NOTE,
    OF_ODVINDA,
    OF_QVINTILLA,
    OF_VISITORS,
    QVINTILLA,
    Visits,
)

from agent.connectors.antavo.simulator import AntavoSimulator
from agent.connectors.antavo.simulator import Fault as AntavoFault
from agent.connectors.monetary.simulator import Fault as MonetaryFault
from agent.connectors.monetary.simulator import MonetarySimulator
from agent.connectors.mparticle.simulator import Fault, MparticleSimulator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.parametrize("vendor", [TENANT], indirect=True, ids=["few"]),
]

KEY, SECRET = "us1-key", "sim-secret"
WORKSPACE, WORKSPACE_SECRET = "us1-workspace", "workspace-secret"
OF_YLVALI = OF_OTHERS[: OF_OTHERS.index("701740697")]
EVERYBODY = (*OF_ZAPHIRA, *OF_OTHERS, *OF_VISITORS)
UNASKED = '{ voucher = { amount = "100.00", currency = "SEK", per_day = 3, within = "24h" } }'
BY_THE_KRONA = '{ points_per_unit = "0.1", currency = "SEK", rounding = "down" }'
NAMED_BY = '["contact_id", "member_number", "mobile_phone", "email"]'


@pytest.fixture(name="feed")
def _feed(tmp_path):
    sim = MparticleSimulator({KEY: SECRET}, now=lambda: datetime.now(UTC), workspace={WORKSPACE: WORKSPACE_SECRET})
    credentials = {
        "api_key": KEY, "api_secret": SECRET, "opendsr_key": WORKSPACE, "opendsr_secret": WORKSPACE_SECRET,
    }  # fmt: skip
    feed = System(sim, tmp_path, credentials, path="/v2", requests_per_second=50)
    feed.table |= {
        "opendsr_url": f"{feed.server.url}/v3",
        "send_identities": ["mobile_phone", "email"],
        "send_attributes": ["first_name", "last_name", "street"],
    }
    yield feed
    feed.close()


@pytest.fixture(name="benefits", autouse=True)
def _benefits(monkeypatch):
    """Whoever is named by phone or mail may spend, something is given unasked, and points are estimated."""
    for name, table in (("OFFLINE", UNASKED), ("SPEND_WITH", NAMED_BY), ("ESTIMATE", BY_THE_KRONA)):
        monkeypatch.setenv(f"LOYALTY_AGENT__BENEFITS__{name}", table)


def open_shop(vendor, open_till, feed, encryption, **tables):
    contact = enrol(vendor)
    patient = {"retention": {"delivered": "1s", "undelivered": "1h"}, **tables}
    till = open_till(
        storage={"encryption": encryption},
        replica=KEPT,
        loyalty={"fallback_level": 4, "live_lookup_budget": "20s"},
        enrol={"budget": "20s"},
        log={"level": "debug"},
        benefits={"redeem_budget": "20s"},
        **{"forward.mparticle": feed.table},
        **patient,
    ).start(wrapper=BARE)
    eventually(till.loaded)
    return till, Visits(vendor, till, contact.contact_id, feed, BARE)


def erase(journey, kind, value):
    """The receipt of whoever is erased."""
    answer = journey.till.http.post("/v1/privacy/erase", json={"identifier": {"type": kind, "value": value}})
    assert answer.status_code == 200, answer.text
    journey.said += [answer.text, str(answer.headers)]
    return answer.json()


@pytest.mark.parametrize("filed", [True, False], ids=["filed", "refused"])
def test_every_other_path_unencrypted(vendor, open_till, feed, temporary, filed):
    """Nobody who joins, uses something up or is told of is ever said; erased they are gone, also from what asks others.

    The request to erase her elsewhere keeps what names her until it is through, or until a person gives it up.
    """
    with watching(temporary) as made:
        till, journey = open_shop(vendor, open_till, feed, "off")
        for step in journey.steps():
            step()
            assert found_in(everything_said(journey), EVERYBODY) == set(), step.__name__
        assert {"bramselia", "rimfrostbacken", "701740695", "grannfridolf"} <= journey.waiting, "it finds"
        assert set().union(*left_in(till.state, OF_ODVINDA).values()) >= {"odvinda", "tjurbensgapet", "1933-09-04"}

        feed.sim.workspace = {WORKSPACE: "another"}
        fault = None if filed else feed.sim.add(Fault(kind="answer", path="/v3/*", status=400, body="echo"))
        receipt = erase(journey, "email", "Zaphira.Kvistgren@example.com")["receipt"]
        assert [request["vendor"] for request in receipt["requests"]] == ["mparticle"]
        asked_under = {NUMBER, "zaphira", "kvistgren"}
        assert set().union(*left_in(till.state, (*OF_ZAPHIRA, *OF_NOTE)).values()) <= {*asked_under, *OF_NOTE}
        till.kill()
        till.start(wrapper=BARE)
        for kind, value, own in (
            ("mobile_phone", YLVALI["mobile_phone"], OF_YLVALI),
            ("email", BRAMSELIA["email"], (*OF_BRAMSELIA, journey.own[0])),
            ("mobile_phone", ODVINDA["mobile_phone"], (*OF_ODVINDA, journey.own[1])),
            ("email", QVINTILLA["email"], OF_QVINTILLA),
        ):
            counts = erase(journey, kind, value)["counts"]
            assert counts["enrolments"] == 1, kind
            waits = _asked_about(own, value)
            assert set().union(*left_in(till.state, own).values()) <= waits, own
        assert "contacts.parked" not in till.conditions()

        if fault:
            eventually(lambda: len(till.queue("parked")) >= 5)
            feed.sim.remove(fault)
            for entry in till.queue("parked"):
                gone = till.http.post(f"/v1/queue/{entry['entry']}/discard", json={"reason": f"Filed for {NAME}"})
                assert gone.status_code == 202
        else:
            feed.sim.workspace = {WORKSPACE: WORKSPACE_SECRET}
            till.order("flush")
            eventually(lambda: len(feed.sim.erasures()) == 5)
        journey.is_told_about()
        eventually(till.drained)
        time.sleep(1.1)  # retention.delivered
        till.purge()
        assert left_in(till.state, EVERYBODY) == {}
        assert till.stop() == 0
    assert left_in(till.state, (*EVERYBODY, *journey.own)) == {}
    assert found_in(everything_said(journey), (*EVERYBODY, *journey.own)) == set()
    assert left_in(temporary, EVERYBODY) == {}
    assert [name for name in made if not PROBE.fullmatch(name)] == []


def _asked_about(own, value):
    """What the request to a further system has of somebody: what they were named by, in whichever form it is kept."""
    return found_in(value.replace("070-", "+4670").replace(" ", "").encode(), own)


def test_every_other_path_encrypted(vendor, open_till, feed, temporary):
    """Encrypted, a byte search finds nobody at any time."""
    with watching(temporary) as made:
        till, journey = open_shop(vendor, open_till, feed, "on")
        for step in journey.steps():
            step()
            assert left_in(till.state, (*EVERYBODY, *journey.own)) == {}, step.__name__
        till.kill()
    assert left_in(till.state, (*EVERYBODY, *journey.own)) == {}
    assert found_in(everything_said(journey), (*EVERYBODY, *journey.own)) == set()
    assert [name for name in made if not PROBE.fullmatch(name)] == []


def test_a_contact_that_could_never_be_brought(vendor, open_till, feed):
    """Nobody orders anything: what waited for the line too long, and what is parked, lose their person by age."""
    short = {"retention": {"delivered": "1s", "undelivered": "6s"}}
    till, journey = open_shop(vendor, open_till, feed, "off", **short)
    journey.is_refused_later()
    vendor.cut()
    feed.cut()
    waiting = till.http.post("/v1/contacts", json=BRAMSELIA).json()
    assert waiting["state"] == "queued"
    key = waiting["integration_key"]
    assert till.sell("own-9", integration_key=key).status_code == 202
    assert set().union(*left_in(till.state, OF_BRAMSELIA).values())
    own = (*OF_BRAMSELIA, *OF_ODVINDA, *journey.own, key["value"])
    eventually(lambda: left_in(till.state, own) == {})
    till.purge()
    assert till.http.get(f"/v1/contacts/{waiting['ref']}").status_code == 404
    assert till.stop() == 0
    assert left_in(till.state, own) == {}
    assert found_in(everything_said(journey), own) == set()


# --- other owners -----------------------------------------------------------------------------------------------


class Owned:
    """A till whose contacts another system owns, and everything that it said."""

    def __init__(self, open_till, system, vendor_name, loyalty, encryption, **table):
        self.system, self.said = system, []
        self.till = open_till(
            voyado=None,
            loyalty={"vendor": vendor_name, "live_lookup_budget": "20s", **loyalty},
            storage={"encryption": encryption},
            replica=KEPT,
            log={"level": "debug"},
            retention={"delivered": "1s", "undelivered": "1h"},
            **{vendor_name: {**system.table, **table}},
        )

    def listen(self):
        """What the door and the commands say now."""
        get, say = self.till.http.get, self.till.command
        self.said += [get(path).text for path in ("/v1/status", "/metrics", "/v1/queue", "/page/status")]
        for command in (("status",), ("queue", "list"), ("explain", "s-1"), ("config", "show"), ("audit", "verify")):
            done = say(*command)
            self.said += [done.stdout, done.stderr]

    def quiet(self):
        return found_in(everything_said(self), EVERYBODY) == set()

    def sell(self, name, **changes):
        answer = self.till.sell(name, occurred_at=now(), lines=[LINE], **changes)
        assert answer.status_code == 202, answer.text

    def suffers(self, fault, ways):
        """Is asked about her, and sells to her, while the system repeats what it was asked."""
        for status in (400, 404, 422, 500):
            added = self.system.sim.add(fault(kind="answer", status=status, body="echo", count=100))
            for kind, value in ways:
                self.said.append(str(self.till.ask(kind, value).headers))
            asked = added.count
            self.sell(f"echo-{status}", identifier=PHONE, **SAID)
            eventually(lambda added=added, asked=asked: added.count < asked)
            self.system.sim.remove(added)
            eventually(lambda status=status: self._settled(f"echo-{status}"))
        self.listen()

    def _settled(self, name):
        self.till.order("flush")
        return self.till.transaction(name)["state"] in ("delivered", "parked")

    def goes_on_without_a_line(self):
        """Killed with sales that wait."""
        self.system.cut()
        self.till.identify("mobile_phone", PHONE["value"])
        self.sell("off-1", identifier=PHONE, **SAID)
        self.sell("off-2", identifier={"type": "email", "value": "zaphira.kvistgren@example.com"})
        self.till.kill()
        self.till.start()
        self.till.identify("mobile_phone", PHONE["value"])
        self.system.mend()
        self.till.order("flush")
        eventually(self.till.drained)

    def ends(self):
        """Nothing of her is left once what was delivered has had its time."""
        for entry in self.till.queue("parked"):
            discard = f"/v1/queue/{entry['entry']}/discard"
            assert self.till.http.post(discard, json={"reason": f"Of {NAME}"}).status_code == 202
        time.sleep(1.1)
        self.till.purge()
        assert left_in(self.till.state, EVERYBODY) == {}
        assert self.till.stop() == 0
        assert left_in(self.till.state, EVERYBODY) == {}
        assert self.quiet()


@pytest.fixture(name="account")
def _account(tmp_path):
    """An account of Monetary's that knows her, as customer 101."""
    sim = MonetarySimulator({KEY: "location-1"}, now=lambda: datetime.now(UTC))
    account = System(sim, tmp_path, {"secret_key": KEY}, path="/v1", requests_per_minute=6_000)
    sim.add_customer(
        ExternalID=NUMBER, Phone="0701740699", Email="zaphira.kvistgren@example.com", FirstName="Zaphira",
        LastName="Kvistgren", Address="Mossbergsklinten 77", Birthday="1931-03-14",
    )  # fmt: skip
    yield account
    account.close()


@pytest.mark.parametrize("encryption", ["off", "on"])
def test_seen_and_seeded_at_monetary(vendor, open_till, account, tmp_path, encryption):
    """In its cache, in a list that is damaged and then whole, in errors that repeat her: erased, she is gone."""
    listed = tmp_path / "members.csv"
    head, row = "CustomerID,ExternalID,Phone,FirstName,LastName,Address", f"101,{NUMBER},0701740699,Zaphira,Kvistgren"
    listed.write_text(f"{head}\n{row}\n")
    owned = Owned(open_till, account, "monetary", {}, encryption, seed_file=str(listed), refresh_after="1ms")
    till = owned.till.start()
    eventually(lambda: "feed.unreadable" in till.conditions())
    owned.listen()
    listed.write_text(f'{head}\n"{row}')  # a quotation that never ends
    till.sync()
    owned.listen()
    assert owned.quiet()
    listed.write_text(f"{head}\n{row},Mossbergsklinten 77\n")
    till.order("sync")
    eventually(lambda: till.loaded(1))
    ways = [("mobile_phone", PHONE["value"]), ("email", "zaphira.kvistgren@example.com"), ("member_number", NUMBER)]
    for kind, value in ways:
        assert till.identify(kind, value)["outcome"] == "matched", kind
    owned.sell("s-1", identifier=PHONE, **SAID)
    eventually(lambda: till.delivered("s-1"))
    owned.suffers(MonetaryFault, [*ways, ("email", "pippin.nobody@example.com")])
    owned.goes_on_without_a_line()
    if encryption == "off":
        assert {NUMBER, "mossbergsklinten"} <= set().union(*left_in(till.state, EVERYBODY).values())
    else:
        assert left_in(till.state, EVERYBODY) == {}
    listed.unlink()
    assert erase(owned, "email", "Zaphira.Kvistgren@example.com")["counts"]["contacts"] == 1
    assert left_in(till.state, OF_ZAPHIRA) == {}
    assert till.identify("mobile_phone", PHONE["value"])["served"]["source"] == "live"
    eventually(lambda: "privacy.erasure_refused_by_feed" in till.conditions())
    owned.listen()
    assert left_in(till.state, OF_ZAPHIRA) == {}, "asked for again, she stays out"
    owned.ends()


HER_ID = "medlem-Zaphira-7"


@pytest.fixture(name="workspace")
def _workspace(tmp_path):
    """A workspace of Antavo's with her and twenty others."""
    sim = AntavoSimulator({KEY: SECRET}, now=lambda: datetime.now(UTC))
    for number in range(20):
        sim.add_member(f"m-{number}", email=f"m{number}@example.com", first_name="Alma")
    whom = {"email": "zaphira.kvistgren@example.com", "mobile_phone": "+46701740699"}
    sim.add_member(HER_ID, **whom, first_name="Zaphira", last_name="Kvistgren", membership_id=NUMBER)
    sim.books.history.told.clear()
    workspace = System(
        sim, tmp_path, {"api_key": KEY, "api_secret": SECRET}, environment="st2", requests_per_minute=20_000
    )
    workspace.table["read_base_url"] = workspace.table["base_url"]
    yield workspace
    workspace.close()


@pytest.mark.parametrize("encryption", ["off", "on"])
def test_listed_by_antavo(vendor, open_till, workspace, encryption):
    """In its list, in events that name her while nobody can tell who she is now: erased, no cursor has her any more."""
    owned = Owned(open_till, workspace, "antavo", {"primary_key": "contact_id"}, encryption)
    till, sim = owned.till.start(), workspace.sim
    eventually(lambda: till.loaded(21))
    ways = [("mobile_phone", PHONE["value"]), ("email", "zaphira.kvistgren@example.com"), ("contact_id", HER_ID)]
    for kind, value in ways:
        assert till.identify(kind, value)["outcome"] == "matched", kind
    owned.sell("s-1", identifier=PHONE, **SAID)
    eventually(lambda: till.delivered("s-1"))
    owned.suffers(AntavoFault, [*ways, ("email", "pippin.nobody@example.com")])
    owned.goes_on_without_a_line()

    fault = sim.add(AntavoFault(kind="answer", path=f"*{HER_ID}*", method="GET", status=500, body="echo"))
    whom = {"email": "zaphira.kvistgren@example.com", "mobile_phone": "+46701740699"}
    sim.add_member(HER_ID, **whom, first_name="Zaphira", last_name="Kvistgren", street="Mossbergsklinten 77")
    till.order("sync")
    eventually(lambda: sim.requests)
    time.sleep(2)
    owned.listen()
    assert owned.quiet()
    assert erase(owned, "email", "zaphira.kvistgren@example.com")["counts"]["contacts"] == 1
    assert left_in(till.state, OF_ZAPHIRA) == {}, "nor in what the feed remembers to ask for"
    till.order("sync")
    time.sleep(2)
    owned.listen()
    sim.remove(fault)
    till.sync()
    assert left_in(till.state, OF_ZAPHIRA) == {}, "sent again, she stays out"
    owned.ends()
