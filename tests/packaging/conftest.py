"""The package of this checkout, built once a test run."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.packaging.builds import build_once


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """Gives the package for a machine, by Debian's name of it."""

    def of(arch="amd64"):
        for program in ("dpkg-deb", {"amd64": "x86_64-linux-gnu-strip", "arm64": "aarch64-linux-gnu-strip"}[arch]):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")
        base = tmp_path_factory.getbasetemp()
        return build_once(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base, arch)

    return of
