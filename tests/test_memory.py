import platform
import subprocess
import sys

import minigrad as mg


def test_memory_can_be_kept_and_handed_back():
    has_glibc = sys.platform == "linux" and "glibc" in platform.libc_ver()
    assert mg.keep_memory(False) is has_glibc
    assert mg.keep_memory() is has_glibc


def test_nothing_happens_without_glibc(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert mg.keep_memory() is False


def test_the_environment_can_refuse_it():
    code = "import ctypes, minigrad.memory; ctypes.CDLL = None; print('imported')"
    env = {"MINIGRAD_KEEP_MEMORY": "0"}
    done = subprocess.run(
        [sys.executable, "-c", "import ctypes; ctypes.CDLL = None\n" + code], env=env, capture_output=True, text=True
    )
    assert done.stdout == "imported\n", done.stderr
