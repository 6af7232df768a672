"""The shop of the end-to-end tests, on a bad day."""

from e2e.conftest import _open_till, _openssh, _sftp, _till, _vendor  # noqa: F401 - pytest finds fixtures by name
