"""The operating system keeps nothing of the agent's memory."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

FORBIDDEN = """
import ctypes, os, resource, sys
from agent import coredump
coredump.forbid()
limit, dumpable = resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
print(limit, dumpable, len(os.listdir("/proc/self/fd")) > 0)
"""
CRASHES = "resource.setrlimit(resource.RLIMIT_CORE, ({0}, {0}))\n{1}canary = 'zaph' + 'ira'\nos.abort()\n"
_GET_DUMPABLE = 3

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's own ways")


def python(code, **how):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **how)


def test_the_process_cannot_be_dumped():
    """No core file, no dump through a pipe, and still its own files can be counted."""
    assert python(FORBIDDEN).stdout.split("\n")[0] == "(0, 0) 0 True"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(("forbids", "seen"), [("coredump.forbid()", False), ("", True)], ids=["forbidden", "as usual"])
def test_nobody_else_of_the_same_user_may_look(forbids, seen):
    """Another program of the agent's own user cannot look into it."""
    become = (  # the modules first: what lies under root is not there for somebody else
        "import ctypes, os, resource, sys\nfrom agent import coredump\n"
        "os.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n"
    )
    dumpable = "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"  # which becoming somebody else takes away
    waits = f"{become}{dumpable}{forbids}\nprint('up', flush=True)\nsys.stdin.read()\n"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", waits], stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout.readline() == "up\n"
        looked = python(f"{become}print(len(open('/proc/{child.pid}/environ', 'rb').read()) > 0)")
        child.stdin.close()
    assert looked.stdout == ("True\n" if seen else "")
    assert ("PermissionError" in looked.stderr) is not seen


def test_a_crash_leaves_no_core(tmp_path):
    """A crash leaves no file behind, where one without this does."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    unlimited = "import os, resource\n" + CRASHES.format(resource.getrlimit(resource.RLIMIT_CORE)[1], "")
    forbidden = "import os, resource\n" + CRASHES.format(0, "from agent import coredump\ncoredump.forbid()\n")
    assert python(forbidden, cwd=tmp_path).returncode < 0
    assert list(tmp_path.iterdir()) == []
    dumps = not pattern.startswith("|") and "/" not in pattern and resource.getrlimit(resource.RLIMIT_CORE)[1] != 0
    if dumps:  # this machine writes core files where the process stands: the search finds what is there
        python(unlimited, cwd=tmp_path)
        assert any(b"zaphira" in path.read_bytes() for path in tmp_path.iterdir())


def test_importing_the_room_forbids_nothing():
    """Whoever runs the agent asks for it."""
    code = f"import ctypes\nfrom agent import coredump\nprint(ctypes.CDLL(None).prctl({_GET_DUMPABLE}, 0, 0, 0, 0))"
    assert python(code).stdout == "1\n"
