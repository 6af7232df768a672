"""Who may open a file, by mode bits and by Windows' access lists."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from agent import access

SERVICE = access.service_sid(access.SERVICE)
SOMEBODY = "S-1-5-21-1-2-3-1001"


def test_mode_bits_decide(tmp_path):
    """Whoever is not the owner counts, group and others alike."""
    secret = tmp_path / "key"
    secret.touch()
    found = {}
    for mode in (0o600, 0o640, 0o604, 0o400):
        secret.chmod(mode)
        found[mode] = access.open_to_others(secret)

    assert found == {0o600: False, 0o640: True, 0o604: True, 0o400: False}


def test_a_service_has_the_account_that_windows_makes_of_its_name():
    """The published one of the service that installs Windows' own modules."""
    made = access.service_sid("TrustedInstaller")

    assert made == access.service_sid("trustedinstaller")
    assert made == "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"


@pytest.mark.parametrize(
    ("sddl", "others"),
    [
        ("O:BAG:SYD:P(A;;FA;;;SY)(A;;FA;;;BA)", []),
        (f"O:BAG:SYD:P(A;OICI;FA;;;SY)(A;OICI;0x1301bf;;;{SERVICE})", []),
        ("O:BAG:SYD:AI(A;OICIID;FA;;;SY)(A;OICIID;0x1200a9;;;BU)", ["BU"]),
        ("O:BAD:(A;;FR;;;WD)(A;;FA;;;AU)", ["AU", "WD"]),
        (f"O:{SOMEBODY}G:DUD:(A;;FA;;;SY)(A;;FA;;;{SOMEBODY})", []),
        (f"O:BAG:DUD:(A;;FA;;;SY)(A;;0x1;;;{SOMEBODY})", [SOMEBODY]),
        ("O:BAD:(A;;CCDCLC;;;BU)", ["BU"]),
        ("O:BAD:(A;;FW;;;BU)(A;;FX;;;WD)(A;;0x100116;;;AU)", []),
        ("O:BAD:(D;;FA;;;BU)(A;;FA;;;BA)", []),
        ('O:BAD:(XA;;FR;;;WD;(@User.Title=="PM"))', ["WD"]),
        ("O:BAD:(A;;FA;;;LS)", ["LS"]),
        ("O:BAD:NO_ACCESS_CONTROL", ["WD"]),
        ("O:BAG:SY", ["WD"]),
        ("O:BAD:P", []),
    ],
    ids=[
        "system-and-administrators", "the-service", "inherited-by-users", "everybody", "the-owner", "somebody-by-mask",
        "by-letters", "only-written-or-walked-through", "denied", "under-a-condition", "another-service-of-the-account",
        "no-list", "not-told", "an-empty-list-lets-nobody",
    ],
)  # fmt: skip
def test_who_else_may_read(sddl, others):
    """Everybody but the owner, administrators, the system and the service."""
    assert access.readers(sddl) == others


def test_a_list_that_windows_does_not_show_is_an_error_of_the_system(tmp_path, monkeypatch):
    """As every caller knows one; pywin32's own is none."""

    class RefusedError(Exception):
        winerror, strerror = 5, "Access is denied."

    def refuse(*_):
        raise RefusedError

    names = {"OWNER_SECURITY_INFORMATION": 1, "DACL_SECURITY_INFORMATION": 4, "SE_FILE_OBJECT": 1}
    monkeypatch.setitem(sys.modules, "pywintypes", SimpleNamespace(error=RefusedError))
    monkeypatch.setitem(sys.modules, "win32security", SimpleNamespace(GetNamedSecurityInfo=refuse, **names))
    monkeypatch.setattr(access, "sys", SimpleNamespace(platform="win32"))

    with pytest.raises(OSError, match="Access is denied"):
        access.open_to_others(tmp_path)


@pytest.mark.parametrize("service_writes", [True, False], ids=["state", "configuration"])
def test_what_the_service_closes_is_closed(service_writes):
    """Its own lists let nobody else in, and inherit nothing that would."""
    made = access.closed(service_writes=service_writes)

    assert access.readers(f"O:BA{made}") == []
    assert made.startswith("D:P(")
    assert f";;;{SERVICE})" in made
