"""`loyalty-agent`, and `python -m agent`."""

from __future__ import annotations

from agent.cli.main import program


def main() -> None:
    """Runs the command line and exits with its status."""
    program()


if __name__ == "__main__":
    main()
