"""What the state directory remembers beside its databases."""

from __future__ import annotations

from agent.connectors.registry import settings_models
from agent.settings import load
from agent.state import State

CONFIG = '[agent]\nstore_id = "1042"\ntill_id = "03"\nstate_dir = "{root}/state"\n'
VENDOR = """
[loyalty]
primary_key = "member_number"
[voyado]
base_url = "http://127.0.0.1:9"
api_key = "file:key"
feed = "file:///nowhere"
"""


def test_how_many_contacts_there_were(tmp_path):
    """The size of a whole replica, which one without anybody does not replace."""
    config = tmp_path / "agent.toml"
    config.write_text(CONFIG.format(root=tmp_path.as_posix()) + VENDOR)
    state = State(load(config=config, vendors=settings_models(), environ={}, secrets=False))
    state.directory.mkdir()
    assert (state.former_contacts, state.least_contacts) == (0, 0)
    for noted in (10, 0):
        state.note_contacts(noted)
        assert (state.former_contacts, state.least_contacts) == (10, 9)
