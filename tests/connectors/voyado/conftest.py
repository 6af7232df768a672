"""An SFTP server for the export files."""

import openssh as ssh
import pytest


@pytest.fixture
def openssh(tmp_path):
    """An OpenSSH server whose account sees `tmp_path / "server"`."""
    folder = tmp_path / "server"
    folder.mkdir()
    with ssh.running(tmp_path / "openssh", folder) as server:
        yield server
