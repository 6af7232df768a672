"""The shop of the end-to-end tests."""

from e2e.conftest import _open_till, _openssh, _sftp, _till, _vendor

__all__ = ["_open_till", "_openssh", "_sftp", "_till", "_vendor"]
