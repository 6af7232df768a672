"""Builds the Debian package: `python packaging/build_deb.py --help`.

It needs no index on the till. The wheels of every supported Python are unpacked into one directory: their pure files
coincide, their extension modules are told apart by their ABI's suffix. Any Python of the distribution then finds what
is its own. The same commit makes the same bytes.
"""

from __future__ import annotations

import argparse
import filecmp
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
DEB = ROOT / "packaging" / "deb"
LIBRARY = Path("usr/lib/loyalty-agent")
DOCUMENTS = Path("usr/share/doc/loyalty-agent")
MONITORING = ROOT / "packaging" / "monitoring"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
GLIBC = (2, 36)  # of Debian 12, the oldest that is supported
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
STRIP = {"amd64": "x86_64-linux-gnu-strip", "arm64": "aarch64-linux-gnu-strip"}  # of Debian's binutils-* packages
OF_THE_INSTALLER = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
"""Its own notes on what it put where; dpkg has its own."""
SCRIPTS = ("postinst", "prerm", "postrm")
UNUSED = frozenset({"pip"})  # a command of sqlite-utils wants it; no till installs anything


@dataclass(frozen=True, slots=True)
class Build:
    """What is built.

    Attributes:
        arch: Debian's name of the machine: ``amd64`` or ``arm64``.
        version: Debian's, with its revision: ``0.1.0-1``.
        epoch: seconds since 1970 of every file in it.
        compression: as `dpkg-deb -Z` names it.
    """

    arch: str
    version: str
    epoch: int
    compression: str = "xz"

    @property
    def name(self) -> str:
        """The file's."""
        return f"loyalty-agent_{self.version}_{self.arch}.deb"


def build(what: Build, output: Path) -> Path:
    """Builds the package into a directory; its path. Raises CalledProcessError when a step fails."""
    with tempfile.TemporaryDirectory() as work:
        staged = Path(work) / "root"
        wheel = _wheel(Path(work), what)
        for python in PYTHONS:
            _merge(_installed(Path(work) / python, wheel, python, what), staged / LIBRARY)
        _strip(staged / LIBRARY, STRIP[what.arch])
        _add_files(staged)
        _add_control(staged, what)
        _normalise(staged, what.epoch)
        output.mkdir(parents=True, exist_ok=True)
        package = output / what.name
        _run("dpkg-deb", "--root-owner-group", f"-Z{what.compression}", "--build", staged, package, epoch=what.epoch)
    return package


def version_of(pyproject: Path = ROOT / "pyproject.toml") -> str:
    """The program's."""
    found: str = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"]
    return found


def _wheel(work: Path, what: Build) -> Path:
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", work / "wheel", epoch=what.epoch)
    (wheel,) = (work / "wheel").glob("*.whl")
    return wheel


def _installed(target: Path, wheel: Path, python: str, what: Build) -> Path:
    """A directory with everything that one Python imports."""
    machine = MACHINES[what.arch]
    pins = target.with_suffix(".txt")
    pins.write_text("\n".join(_pins(python, machine)), encoding="utf-8")
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC[1], 16, -1)]
    pip = (
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile",
        "--only-binary", ":all:", "--target", target, "--implementation", "cp", "--python-version", python,
    )  # fmt: skip
    asked = [part for platform in (*platforms, f"manylinux2014_{machine}") for part in ("--platform", platform)]
    _run(*pip, *asked, "--require-hashes", "-r", pins)
    _run(*pip, *asked, wheel)
    return target


def _pins(python: str, machine: str) -> Iterator[str]:
    """The locked requirements that hold for a Python on a machine; pip would judge markers by its own."""
    target = {
        "python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine,
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }  # fmt: skip
    text = (ROOT / "packaging" / "requirements.txt").read_text(encoding="utf-8")
    for line in text.replace("\\\n", " ").splitlines():
        pin, *hashes = line.split(" --hash=")
        wanted = Requirement(pin)
        if wanted.name not in UNUSED and (wanted.marker is None or wanted.marker.evaluate(target)):
            yield " --hash=".join((f"{wanted.name}{wanted.specifier}", *(one.strip() for one in hashes)))


def _merge(source: Path, target: Path) -> None:
    """Adds a directory to another. Raises ValueError when a file of both is not the same."""
    for path in sorted(source.rglob("*")):
        place = path.relative_to(source)
        if path.is_dir() or place.parts[0] == "bin" or path.name in OF_THE_INSTALLER:
            continue
        merged = target / place
        if not merged.exists():
            merged.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, merged)
        elif not filecmp.cmp(path, merged, shallow=False) and not _tells_of_one_wheel(place):
            raise ValueError(f"{place} is not the same for every Python")


def _tells_of_one_wheel(place: Path) -> bool:
    return place.parts[0].endswith(".dist-info")


def _strip(library: Path, strip: str) -> None:
    """Takes out of the extension modules what only a debugger reads: nine tenths of some."""
    _run(strip, "--strip-unneeded", *sorted(library.rglob("*.so")))


def _add_files(staged: Path) -> None:
    for source, place in (
        (DEB / "loyalty-agent", "usr/bin/loyalty-agent"),
        (DEB / "loyalty-agent.1", "usr/share/man/man1/loyalty-agent.1"),
        (DEB / "copyright", DOCUMENTS / "copyright"),
        (ROOT / "CHANGELOG.md", DOCUMENTS / "changelog"),
        (ROOT / "config.example.toml", DOCUMENTS / "config.example.toml"),
        (ROOT / "systemd" / "loyalty-agent.service", "usr/lib/systemd/system/loyalty-agent.service"),
        (ROOT / "systemd" / "loyalty-agent.socket", "usr/lib/systemd/system/loyalty-agent.socket"),
        (ROOT / "systemd" / "journald@loyalty-agent.conf", "etc/systemd/journald@loyalty-agent.conf"),
        *(
            (path, DOCUMENTS / "monitoring" / path.name)
            for path in sorted((ROOT / "packaging" / "monitoring").iterdir())
        ),
        *((path, DOCUMENTS / path.relative_to(ROOT / "docs")) for path in sorted((ROOT / "docs").rglob("*.md"))),
    ):
        (staged / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, staged / place)
    for place in (DOCUMENTS / "changelog", Path("usr/share/man/man1/loyalty-agent.1")):
        packed = gzip.compress((staged / place).read_bytes(), mtime=0)
        (staged / f"{place}.gz").write_bytes(packed)
        (staged / place).unlink()
    (staged / "etc/loyalty-agent/conf.d").mkdir(parents=True)


def _add_control(staged: Path, what: Build) -> None:
    sizes = [path.stat().st_size for path in staged.rglob("*") if path.is_file()]
    control = staged / "DEBIAN"
    control.mkdir()
    template = Template((DEB / "control").read_text(encoding="utf-8"))
    (control / "control").write_text(
        template.substitute(
            version=what.version,
            architecture=what.arch,
            installed_kib=sum(sizes) // 1024,
            glibc=".".join(map(str, GLIBC)),
            oldest=PYTHONS[0],
            beyond=f"3.{int(PYTHONS[-1].split('.')[1]) + 1}",
        ),
        encoding="utf-8",
    )
    (control / "conffiles").write_text("/etc/systemd/journald@loyalty-agent.conf\n", encoding="utf-8")
    sums = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(staged)}\n"
        for path in sorted(staged.rglob("*"))
        if path.is_file() and control not in path.parents and "etc" not in path.relative_to(staged).parts[:1]
    ]
    (control / "md5sums").write_text("".join(sums), encoding="utf-8")
    for script in SCRIPTS:
        shutil.copyfile(DEB / script, control / script)


def _normalise(staged: Path, epoch: int) -> None:
    """Modes and times that depend on nothing but the commit."""
    programs = {staged / "usr/bin/loyalty-agent", *(staged / "DEBIAN" / name for name in SCRIPTS)}
    for path in (staged, *staged.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path in programs else 0o644)
        os.utime(path, (epoch, epoch))


def _run(*command: str | Path, epoch: int = 0) -> None:
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)})


def _committed_at() -> int:
    """When the checkout's last commit was made."""
    said = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(said.stdout)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Builds the Debian package.")
    parser.add_argument("--arch", choices=sorted(MACHINES), default="amd64")
    parser.add_argument("--revision", default="1", help="Debian's revision (default 1)")
    parser.add_argument("--compression", choices=("xz", "gzip", "none"), default="xz")
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    asked = parser.parse_args()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _committed_at())
    version = f"{version_of()}-{asked.revision}"
    package = build(Build(asked.arch, version, epoch, asked.compression), asked.output)
    sys.stdout.write(f"{package}\n")


if __name__ == "__main__":
    main()
