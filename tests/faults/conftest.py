"""The shop of the end-to-end tests, on a bad day."""

from pathlib import Path

import pytest
from e2e.conftest import _open_till, _openssh, _sftp, _till, _vendor  # noqa: F401 - pytest finds fixtures by name


@pytest.fixture(name="temporary")
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that the agent takes for temporary files."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    for name in ("TMPDIR", "SQLITE_TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(directory))
    return directory
