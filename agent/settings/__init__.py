"""The configuration: models, where values come from, and every fault at once.

Order: flag, environment (`LOYALTY_AGENT__SECTION__KEY`), `conf.d/*.toml`, `config.toml`, default.
"""

from agent.settings.configuration import Configuration, contradictions, load, secret_keys
from agent.settings.layers import ENV_PREFIX
from agent.settings.sections import (
    FORWARD,
    AgentSection,
    ApiSection,
    LoyaltySection,
    QueueSection,
    ReplicaSection,
    Role,
    Section,
    Settings,
    VendorSection,
)
from agent.settings.spellings import Duration, Rate, Secret, SecretOrNothing, Size

__all__ = [
    "ENV_PREFIX",
    "FORWARD",
    "AgentSection",
    "ApiSection",
    "Configuration",
    "Duration",
    "LoyaltySection",
    "QueueSection",
    "Rate",
    "ReplicaSection",
    "Role",
    "Secret",
    "SecretOrNothing",
    "Section",
    "Settings",
    "Size",
    "VendorSection",
    "contradictions",
    "load",
    "secret_keys",
]
