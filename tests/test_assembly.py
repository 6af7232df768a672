"""The agent put together, and not yet running: who hears of what."""

from datetime import timedelta

import pytest

from agent.assembly import open_agent
from agent.connectors.registry import settings_models
from agent.domain.transaction import IdentifierStatement, NewContact
from agent.settings import load
from tests.fakes import NOW, FakeClock, phone

DAY = timedelta(days=1)
CONFIG = """
[agent]
store_id = "1042"
till_id = "03"
state_dir = "{state}"
[loyalty]
fallback_level = 4
[voyado]
base_url = "http://127.0.0.1:9"
api_key = "file:{key}"
feed = "api"
[retention]
delivered = "1h"
undelivered = "1d"
"""


@pytest.fixture
async def agent(tmp_path):
    """An agent that makes contacts, with one that the loyalty system has refused."""
    (tmp_path / "api.key").write_text("a-key")
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(state=tmp_path / "state", key=tmp_path / "api.key"))
    configuration = load(config=config, vendors=settings_models(), environ={})
    async with open_agent(configuration, clock=FakeClock()) as agent:
        yield agent


@pytest.mark.parametrize("how", ["by order", "by age"])
async def test_nobody_is_parked_who_is_forgotten(agent, how):
    """The condition goes with the last contact that the loyalty system refuses, whoever takes it away."""
    record, bringing = agent.storage.enrolments(), agent.rooms.enrolling.bringing
    contact = NewContact(mobile_phone=phone(5).value)
    (made,) = (await record.add(contact, (phone(5),), prefix="1042-03-", now=NOW - 2 * DAY)).enrolments
    await record.park(made.number, 422, "ValidationError")
    bringing.tell()
    status = agent.rooms.status
    assert "contacts.parked" in [one.code for one in status.snapshot().conditions]
    if how == "by order":
        await agent.rooms.privacy.erase(IdentifierStatement(type="mobile_phone", value=phone(5).value), "officer")
    else:
        await agent.purge.run()
    assert "contacts.parked" not in [one.code for one in status.snapshot().conditions]
