"""Builds the Windows package from what PyInstaller made, on Linux: `python packaging/windows/build_msi.py --help`.

`wixl` (Debian: wixl) compiles `loyalty-agent.wxs` and, beside it, a list of the payload's files, each a component whose
GUID depends on nothing but its path: the next version replaces file by file.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import tomllib
import uuid
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
DEFINITION = Path(__file__).with_name("loyalty-agent.wxs")
PROGRAM = "loyalty-agent.exe"
WIX = "http://schemas.microsoft.com/wix/2006/wi"
NAMESPACE = uuid.UUID("8a0f4c0e-6a55-4a3f-8f0d-0f6a2b3c4d5e")
"""Of the components' GUIDs; never another one."""
_SECURE = (
    "UPDATE `Property` SET `Value` = 'CONFIGFILE;KEEPDATA;PURGEUNSENT;WIX_DOWNGRADE_DETECTED;WIX_UPGRADE_DETECTED' "
    "WHERE `Property` = 'SecureCustomProperties'"
)
"""They get through to the part of an installation that runs as the system; wixl lists those of an upgrade alone."""
_UNDOING = "UPDATE `CustomAction` SET `Type` = 3346 WHERE `Action` = 'PrepareAgain'"
"""18: an installed program; 256: when an installation is undone; 1024: deferred; 2048: as the system."""


def build(payload: Path, output: Path, version: str) -> Path:
    """Builds the package into a directory; its path.

    Args:
        payload: the directory that PyInstaller made: the program, and what it needs.
        output: a directory.
        version: three numbers, as Windows compares them.

    Raises:
        FileNotFoundError: the program is not in the payload, or wixl is not installed.
        CalledProcessError: wixl refuses it.
    """
    if not (payload / PROGRAM).is_file():
        raise FileNotFoundError(payload / PROGRAM)
    output.mkdir(parents=True, exist_ok=True)
    package = output / f"loyalty-agent_{version}_x64.msi"
    with tempfile.TemporaryDirectory() as work:
        files = Path(work) / "payload.wxs"
        listing(payload).write(files, encoding="utf-8", xml_declaration=True)
        # In the payload's directory: wixl finds no file by a path from the root.
        command = ["wixl", "--arch", "x64", "-D", f"Version={version}", "-o", package.resolve(), DEFINITION, files]
        subprocess.run(command, check=True, cwd=payload)
    for change in (_SECURE, _UNDOING):
        subprocess.run(["msibuild", package, "-q", change], check=True)
    return package


def listing(payload: Path) -> ET.ElementTree[ET.Element]:
    """The payload's directories below INSTALLFOLDER, and the component group of its files."""
    ET.register_namespace("", WIX)
    wix = ET.Element(f"{{{WIX}}}Wix")
    fragment = ET.SubElement(wix, f"{{{WIX}}}Fragment")
    top = ET.SubElement(fragment, f"{{{WIX}}}DirectoryRef", Id="INSTALLFOLDER")
    group = ET.SubElement(ET.SubElement(wix, f"{{{WIX}}}Fragment"), f"{{{WIX}}}ComponentGroup", Id="Payload")
    places = {Path(): top}
    for path in sorted(payload.rglob("*")):
        place = path.relative_to(payload)
        above = places[place.parent]
        if path.is_dir():
            places[place] = ET.SubElement(above, f"{{{WIX}}}Directory", Id=_id("D", place), Name=path.name)
        elif place != Path(PROGRAM):
            guid = str(uuid.uuid5(NAMESPACE, place.as_posix()))
            component = ET.SubElement(above, f"{{{WIX}}}Component", Id=_id("C", place), Guid=guid, Win64="yes")
            ET.SubElement(
                component, f"{{{WIX}}}File", Id=_id("F", place), Name=path.name, Source=str(place), KeyPath="yes"
            )
            ET.SubElement(group, f"{{{WIX}}}ComponentRef", Id=_id("C", place))
    return ET.ElementTree(wix)


def version_of(pyproject: Path = ROOT / "pyproject.toml") -> str:
    """The program's."""
    found: str = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"]
    return found


def _id(kind: str, place: Path) -> str:
    return kind + hashlib.sha256(place.as_posix().encode()).hexdigest()[:32]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Builds the Windows package.")
    parser.add_argument("--payload", type=Path, required=True, help="the directory that PyInstaller made on Windows")
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    asked = parser.parse_args()
    sys.stdout.write(f"{build(asked.payload, asked.output, version_of())}\n")


if __name__ == "__main__":
    main()
