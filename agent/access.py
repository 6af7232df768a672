"""Who may open a file: mode bits, or on Windows the access list that its directory gave it.

There is no `chmod` on Windows: what lies in a directory has the directory's access. `service install`, and the MSI
through `service prepare`, close the agent's (:func:`close`); everything in it is closed from then on. Source: SDDL,
[MS-DTYP] 2.5.1.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from pathlib import Path
from typing import Final

SERVICE: Final = "loyalty-agent"
"""The name of the Windows service."""
_POSIX: Final = sys.platform != "win32"
CLOSE: Final = "chmod 600" if _POSIX else "loyalty-agent service prepare"
CLOSE_FILES: Final = "chmod 600 them; the agent does so at its next start." if _POSIX else CLOSE
CLOSE_DIRECTORY: Final = "chmod 700 {}" if _POSIX else CLOSE
"""What an administrator does about it."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_ENTRY: Final = re.compile(r"\(([A-Z]+);[^;]*;([^;]*);[^;]*;[^;]*;([^;()]+)")
"""Kind, rights and whom they are given to; a condition may follow."""
_READS: Final = frozenset({"FA", "FR", "GA", "GR", "CC"})
_READ_MASK: Final = 0x1 | 0x1000_0000 | 0x8000_0000  # FILE_READ_DATA, GENERIC_ALL, GENERIC_READ
_WHO_MAY: Final = frozenset({"SY", "BA", "OW", "CO"})
"""The system, administrators, the owner, and who makes a file there."""


def open_to_others(path: Path) -> bool:
    """Whether anybody else may read a file or enter a directory. Raises OSError."""
    if sys.platform == "win32":
        return bool(readers(_sddl_of(path)))
    return bool(stat.S_IMODE(path.stat().st_mode) & _OTHERS)


def close(directory: Path, *, service_writes: bool) -> None:
    """Closes a directory of the service's, and what is in it, to everybody else. Windows alone.

    Args:
        directory: it is made where it is not there.
        service_writes: as in the state directory; else the service reads alone.

    Raises:
        pywintypes.error: this user may not.
    """
    import win32security  # noqa: PLC0415 - of that system alone

    directory.mkdir(parents=True, exist_ok=True)
    descriptor = win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(
        closed(service_writes=service_writes), win32security.SDDL_REVISION_1
    )
    what = win32security.DACL_SECURITY_INFORMATION | win32security.PROTECTED_DACL_SECURITY_INFORMATION
    dacl = descriptor.GetSecurityDescriptorDacl()
    win32security.SetNamedSecurityInfo(os.fspath(directory), win32security.SE_FILE_OBJECT, what, None, None, dacl, None)


def closed(*, service_writes: bool) -> str:
    """The access list, in SDDL, of a directory for the system, administrators and the service."""
    rights = "0x1301bf" if service_writes else "0x1200a9"  # to change what is there, or to read it
    return f"D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;{rights};;;{service_sid(SERVICE)})"


def service_sid(name: str) -> str:
    """The account of one service alone, as Windows makes it from its name ([MS-DTYP] 2.4.2.4, SECURITY_SERVICE_ID)."""
    digest = hashlib.sha1(name.upper().encode("utf-16-le"), usedforsecurity=False).digest()
    parts = (int.from_bytes(digest[at : at + 4], "little") for at in range(0, len(digest), 4))
    return "-".join(("S-1-5-80", *map(str, parts)))


def readers(sddl: str) -> list[str]:
    """Who else may read, by SID or SDDL's two letters: not the owner, administrators, the system or the service.

    Args:
        sddl: owner and access list: ``O:BAD:P(A;OICI;FA;;;SY)...``. Without a list everybody may.
    """
    owner, separator, dacl = sddl.partition("D:")
    if not separator or dacl.startswith("NO_ACCESS_CONTROL"):
        return ["WD"]
    known = _WHO_MAY | {service_sid(SERVICE), owner.removeprefix("O:").partition("G:")[0]}
    entries = _ENTRY.findall(dacl)
    return sorted({who for kind, rights, who in entries if kind in ("A", "XA") and _reads(rights)} - known)


def _reads(rights: str) -> bool:
    if rights.startswith("0x"):
        return bool(int(rights, 16) & _READ_MASK)
    return not _READS.isdisjoint(rights[at : at + 2] for at in range(0, len(rights), 2))


def _sddl_of(path: Path) -> str:
    """Owner and access list of a file or directory. Raises OSError."""
    import pywintypes  # noqa: PLC0415 - of that system alone
    import win32security  # noqa: PLC0415

    what = win32security.OWNER_SECURITY_INFORMATION | win32security.DACL_SECURITY_INFORMATION
    try:
        descriptor = win32security.GetNamedSecurityInfo(os.fspath(path), win32security.SE_FILE_OBJECT, what)
    except pywintypes.error as error:  # which is no OSError
        raise OSError(0, error.strerror, os.fspath(path), error.winerror) from error
    text: str = win32security.ConvertSecurityDescriptorToStringSecurityDescriptor(
        descriptor, win32security.SDDL_REVISION_1, what
    )
    return text
