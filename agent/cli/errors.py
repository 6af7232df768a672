"""What can go wrong between a person at a terminal and the agent; leaves of the tree in :mod:`agent.errors`."""

from __future__ import annotations

from agent.errors import LoyaltyAgentError


class DaemonUnreachableError(LoyaltyAgentError):
    """The agent does not answer."""

    code = "agent.unreachable"
    advice = "Start it, or name its configuration with --config."


class DaemonSilentError(DaemonUnreachableError):
    """The agent runs, and says nothing."""

    advice = "Restart it: systemctl restart loyalty-agent, or end its process and start it again."


class NotTheAgentError(DaemonUnreachableError):
    """Another program answers where the agent would."""

    advice = "See whose it is (ss -ltnp) and stop it, or change api.listen."


class DaemonRefusedError(LoyaltyAgentError):
    """The agent refused what was asked."""

    code = "agent.refused"
    advice = "See what it says; `loyalty-agent status` shows which conditions stand."

    def __init__(self, message: str, code: str | None = None) -> None:
        self.code = code or self.code
        super().__init__(message)


class PermissionRefusedError(LoyaltyAgentError):
    """This user may not do that."""

    code = "permission.refused"
    advice = "Run the command as the agent's own user, or as root."


class TokenForgottenError(PermissionRefusedError):
    """The agent that answers does not know the token that its state directory holds."""

    advice = "Name that agent's configuration with --config; if it is this one, restart the agent."


class UsageMistakeError(LoyaltyAgentError):
    """The command line asks for something that there is not."""

    code = "usage.mistaken"
    advice = "Run the command with --help."


class BundleRefusedError(LoyaltyAgentError):
    """The support bundle would hold what must not leave this machine."""

    code = "bundle.refused"
    advice = "Nothing was written. Tell support which part it is; `support-bundle --show` is refused as well."
