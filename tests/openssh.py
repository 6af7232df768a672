"""A real OpenSSH server on loopback, with keys of its own and none of the machine's."""

import contextlib
import getpass
import os
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest

SSHD = Path("/usr/sbin/sshd")


@dataclass
class OpenSsh:
    """A running server, and what a client needs to know of it."""

    port: int
    folder: Path
    known_hosts: Path
    private_key: str = field(repr=False)

    @property
    def url(self) -> str:
        return self.url_of(self.folder)

    def url_of(self, folder: Path) -> str:
        """The URL of any folder of this machine."""
        return f"sftp://{getpass.getuser()}@127.0.0.1:{self.port}{folder}"


class _PerConnection(socketserver.ThreadingTCPServer):
    """Hands each connection to an sshd of its own (`sshd -i`): port 0 works, and there is no start to wait for."""

    daemon_threads = True
    command: tuple[str, ...] = ()


class _Hand(socketserver.BaseRequestHandler):
    def handle(self):
        line = self.request
        subprocess.run(self.server.command, stdin=line, stdout=line, stderr=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def running(home: Path, folder: Path) -> Iterator[OpenSsh]:
    """An OpenSSH server while the block runs.

    Args:
        home: an absent directory for its keys.
        folder: what ``url`` shows.
    """
    if not SSHD.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{SSHD} is missing: CI has to install openssh-server")
        pytest.skip(f"{SSHD} is missing: install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it when it runs as root
    home.mkdir(mode=0o700)
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    host.write_private_key(home / "host")
    (home / "host").chmod(0o600)
    user.write_public_key(home / "authorized")
    config = home / "sshd_config"
    config.write_text(
        f"HostKey {home}/host\nAuthorizedKeysFile {home}/authorized\nStrictModes no\nUsePAM no\nPidFile none\n"
        "PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "Subsystem sftp internal-sftp\n"
    )
    with _PerConnection(("127.0.0.1", 0), _Hand) as server:
        server.command = (str(SSHD), "-i", "-e", "-f", str(config))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        port = server.server_address[1]
        known_hosts = home / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{port} {host.export_public_key().decode()}")
        yield OpenSsh(port, folder, known_hosts, user.export_private_key().decode())
        server.shutdown()
        thread.join()
