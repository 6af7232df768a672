"""The vendor rooms of this version. A new vendor is its room and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from agent.connectors.voyado import settings as voyado
from agent.settings import Section

SETTINGS: Mapping[str, type[Section]] = {"voyado": voyado.VoyadoSettings}
