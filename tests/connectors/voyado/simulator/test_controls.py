"""The controls, and the page that documents them."""

import dataclasses
from pathlib import Path
from typing import get_args

import pytest

from agent.connectors.simulation.line import BodyKind
from agent.connectors.voyado.simulator import Fault, SimulatorSettings
from agent.connectors.voyado.simulator.controls import control_routes
from agent.connectors.voyado.simulator.faults import FileFault

PAGE = Path(__file__).parents[4] / "docs" / "vendors" / "voyado-simulator.md"


async def test_state_tells_what_there_is(tenant, receipt):
    """The state shows the tenant's time, its contacts by type, its receipts and its stores."""
    await tenant.member()
    await tenant.member(contactType="Contact", email="bo.granlund@example.com")
    gone = await tenant.member(mobilePhone="+46701740606")
    await tenant.http.delete(f"/api/v3/contacts/{gone['id']}")
    await tenant.post(receipt())
    state = (await tenant.http.get("/_sim/state")).json()
    assert state["now"] == "2026-02-16T11:00:00+00:00"
    assert state["contacts"] == {"Member": 1, "Contact": 1, "deleted": 1}
    assert state["receipts"]["waiting"] == 1
    assert state["stores"] == ["1041", "1042", "1043"]


async def test_settings_are_shown_and_changed(tenant):
    """A knob turned over HTTP is in force at once, and the root is not one of them."""
    answer = await tenant.http.post("/_sim/settings", json={"split_at": 5, "export_fields": ["email"]})
    assert (answer.json()["split_at"], answer.json()["export_fields"]) == (5, ["email"])
    assert tenant.sim.settings.split_at == 5
    assert tenant.sim.settings.export_fields == ("email",)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("settings", {"colour": 1}, id="unknown-setting"),
        pytest.param("settings", {"root": "/"}, id="root"),
        pytest.param("settings", {"api_keys": ["x"]}, id="keys-have-their-own-control"),
        pytest.param("settings", {"split_at": 0}, id="split-at"),
        pytest.param("settings", {"split_at": "many"}, id="split-at-text"),
        pytest.param("settings", {"receipt_interval_s": -1}, id="interval"),
        pytest.param("settings", {"hard_rate": 0}, id="rate"),
        pytest.param("settings", {"ambiguous": "oldest"}, id="choice"),
        pytest.param("settings", {"slow_writer": "yes"}, id="truth"),
        pytest.param("settings", {"contact_types": {"Contact": "email"}}, id="no-member-type"),
        pytest.param("advance", {"seconds": -1}, id="backwards"),
        pytest.param("advance", {}, id="no-seconds"),
        pytest.param("contacts", {"seed": "many"}, id="seed"),
        pytest.param("reset", {"seed": -1}, id="reset-seed"),
        pytest.param("export", {"half": True}, id="export"),
        pytest.param("keys", {"remove": "x"}, id="keys"),
        pytest.param("keys", {"revoke": ["x"]}, id="key-is-a-list"),
        pytest.param("keys", {"add": "x", "addresses": "127.0.0.1"}, id="addresses-are-no-list"),
        pytest.param("contacts", {"mobilePhone": "+46701740605", "storeExternalId": 1}, id="store"),
    ],
)
async def test_a_wrongly_worded_control_is_refused(tenant, path, body):
    """A control that cannot be understood is a 400 and changes nothing."""
    before = tenant.sim.settings
    answer = await tenant.http.post(f"/_sim/{path}", json=body)
    assert answer.status_code == 400
    assert tenant.sim.settings == before


async def test_contacts_are_seeded_or_made_one_by_one(tenant):
    """A seeded membership and a single contact are made over HTTP; only the single one is a change."""
    assert (await tenant.http.post("/_sim/contacts", json={"seed": 20})).status_code == 201
    contact = await tenant.member(mobilePhone="+46701740699", storeExternalId="1041")
    assert contact["attributes"]["createdInStore"] == "1041"
    assert (await tenant.http.get("/_sim/state")).json()["pendingExport"] == 1


async def test_reset_begins_anew(tenant, receipt):
    """After a reset nothing is left but the settings given at first, and the people asked for."""
    await tenant.member()
    await tenant.post(receipt())
    tenant.sim.export_now()
    await tenant.http.post("/_sim/settings", json={"split_at": 5})
    await tenant.http.post("/_sim/faults", json={"trailing_blanks": True})
    await tenant.http.post("/_sim/reset", json={"seed": 4})
    state = (await tenant.http.get("/_sim/state")).json()
    assert (state["contacts"]["Member"], state["receipts"]["received"], state["logLines"]) == (4, 0, 0)
    assert not list(tenant.sim.exports.folder.iterdir())
    assert tenant.sim.settings.split_at == 10_000
    assert not tenant.sim.faults.trailing_blanks


async def test_jobs_run_at_their_own_moments_on_a_long_way(tenant, receipt):
    """Advancing a day imports a receipt at its interval and exports a change at its hour, not at the day's end."""
    await tenant.member()
    await tenant.post(receipt())
    tenant.sim.advance(86_400)
    assert (await tenant.receipts())["1042-03-000001"]["importedAt"] == "2026-02-16T11:15:00+00:00"
    assert [path.name for path in tenant.sim.exports.folder.iterdir()] == ["20260216120000_0_members.xml"]
    assert (await tenant.http.get("/_sim/state")).json()["now"] == "2026-02-17T11:00:00+00:00"


def test_the_page_names_every_control_knob_and_fault(tenant):
    """The documentation leaves nothing out that can be turned."""
    text = PAGE.read_text("utf-8")
    names = [f"/_sim/{name}" for _, name, _ in control_routes(tenant.sim)]
    names += [field.name for field in dataclasses.fields(SimulatorSettings)]
    names += [field.name for field in dataclasses.fields(Fault)]
    names += [*Fault.kinds, *get_args(BodyKind), *get_args(FileFault)]
    names += ["upper_case_guids", "trailing_blanks", "clock_skew_s"]
    assert [name for name in names if f"`{name}`" not in text] == []
