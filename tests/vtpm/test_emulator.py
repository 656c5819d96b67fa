# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulator of a guest's TPM with the real swtpm, and with the real QEMU where there is one: the engine's own steps.

What is asked of the two here is what the simulated hosts say of them: which of them ends when, and what is kept.
"""

from __future__ import annotations

import array
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tpm_commands as tpm
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from conftest import _have

from ansible_collections.stubdom.xen.plugins.module_utils import emulator, processes, swtpm
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.host import XenHost
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, Vtpm

SECRET = b"kept by the TPM"
STARTUP = {"1.2": tpm.command(0x99, struct.pack(">H", 1)), "2.0": tpm.command(0x144, bytes(2), tag=0x8001)}
INIT, SHUTDOWN, SET_DATAFD = 2, 3, 16
PATIENCE = 120.0
QEMU = shutil.which("qemu-system-x86_64")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[XenHost]:
    """This machine, with directories of the test's own; a socket's path has to be short."""
    _have("swtpm")
    with tempfile.TemporaryDirectory(prefix="tpm") as own, patch_module_args({}):
        monkeypatch.setattr(swtpm, "SOCKET_DIR", f"{own}/run")
        monkeypatch.setattr(swtpm, "STATE_DIR", f"{own}/state")
        monkeypatch.setattr(emulator, "LOG_DIR", own)
        host = XenHost(AnsibleModule(argument_spec={}))
        yield host
        host.finish(emulator.down(host, "web"))


def up(host: XenHost, version: str = "2.0") -> bool:
    return bool(host.finish(emulator.up(host, "web", version, PATIENCE)))


def look(host: XenHost) -> tuple[bool, bool]:
    seen = emulator.look(host, "web")
    return seen.listens, seen.connected


def wait_until(what: str, holds: object) -> None:
    limit = time.monotonic() + PATIENCE
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < limit, what
        time.sleep(0.01)  # no event tells it


def free(host: XenHost) -> None:
    """It listens, and has noticed that who was connected has gone."""
    wait_until("the emulator is not free", lambda: look(host) == (True, False))


class LikeQemu:
    """What QEMU does with the emulator (backends/tpm/tpm_emulator.c), and a guest behind it."""

    def __init__(self, version: str) -> None:
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(swtpm.socket_path("web"))
        self.data, theirs = socket.socketpair()
        fds = array.array("i", [theirs.fileno()])
        self.control.sendmsg([struct.pack(">I", SET_DATAFD)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        assert self.control.recv(4) == bytes(4)
        theirs.close()
        assert self.say(INIT, bytes(4)) == bytes(4)
        assert self.ask(STARTUP[version])[tpm.RESULT] == tpm.SUCCESS

    def say(self, command: int, body: bytes = b"") -> bytes:
        self.control.sendall(struct.pack(">I", command) + body)
        return self.control.recv(4)

    def ask(self, command: bytes) -> bytes:
        self.data.sendall(command)
        return self.data.recv(4096)

    def end(self, in_good_order: bool) -> None:
        if in_good_order:
            assert self.say(SHUTDOWN) == bytes(4)
        self.data.close()
        self.control.close()


@pytest.mark.parametrize("version", ["1.2", "2.0"])
@pytest.mark.parametrize("in_good_order", [True, False], ids=["ends", "is killed"])
def test_one_qemu_after_the_other_finds_the_same_tpm(host: XenHost, version: str, in_good_order: bool) -> None:
    """The guest's own reboot: nobody of this collection is there to start anything."""
    assert (up(host, version), up(host, version)) == (True, False)
    free(host)
    of = tpm.VERSIONS[version]
    first = LikeQemu(version)
    assert look(host) == (True, True)
    before = first.ask(of.pcr_read())
    assert first.ask(of.nv_define(len(SECRET)))[tpm.RESULT] == tpm.SUCCESS
    assert first.ask(of.nv_write(SECRET))[tpm.RESULT] == tpm.SUCCESS
    assert first.ask(of.pcr_extend(bytes(range(of.digest))))[tpm.RESULT] == tpm.SUCCESS
    first.end(in_good_order)

    second = LikeQemu(version)  # whoever comes meanwhile waits, and is not turned away
    assert SECRET in second.ask(of.nv_read(len(SECRET)))
    assert second.ask(of.pcr_read())[10:] == before[10:], "it is a power cycle"
    second.end(in_good_order)

    host.finish(emulator.down(host, "web"))
    assert (look(host), host.having(swtpm.mark("web"))) == ((False, False), [])
    assert up(host, version)
    assert SECRET in LikeQemu(version).ask(of.nv_read(len(SECRET))), "and so does the next task, after a boot of the host"


def test_what_is_made_is_for_root_alone(host: XenHost) -> None:
    up(host)
    modes = {path: os.stat(path).st_mode & 0o777 for path in (swtpm.state_dir("web"), swtpm.SOCKET_DIR, swtpm.socket_path("web"))}
    assert list(modes.values()) == [0o700, 0o700, 0o600]
    state = Path(swtpm.state_dir("web"), swtpm.STATES["2.0"])
    assert state.stat().st_mode & 0o777 == 0o600
    assert emulator.look(host, "web").version == "2.0"
    assert host.read_file(swtpm.made_path("web")) == "2.0\n"


def test_a_swtpm_that_is_killed_is_the_last(host: XenHost) -> None:
    """QEMU would not come to another one: that there is none says that the guest has lost its TPM."""
    up(host)
    guest = LikeQemu("2.0")
    pid, lives = emulator.process(host, "web")
    assert (lives, look(host)) == (True, (True, True))
    os.kill(int(pid or 0), signal.SIGKILL)
    wait_until("somebody still listens", lambda: look(host) == (False, False))
    assert emulator.process(host, "web") == (pid, False)
    guest.end(in_good_order=False)
    assert up(host)


def test_one_that_is_told_to_end_is_followed_by_another_that_nobody_holds(host: XenHost) -> None:
    up(host)
    guest = LikeQemu("2.0")
    pid, _lives = emulator.process(host, "web")
    os.kill(int(pid or 0), signal.SIGTERM)
    free(host)
    guest.end(in_good_order=False)


def test_one_that_is_just_being_begun_is_ended_with_the_shell_that_begins_it(
    host: XenHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a process that has not reached its first instruction Linux has no command line: none is known by that."""
    up(host)
    _shell, begun = host.having(swtpm.mark("web"))
    known = processes._cmdline
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(processes, "_cmdline", lambda pid: b"" if pid == begun else known(pid))
        host.finish(emulator.down(host, "web"))
    assert host.having(swtpm.mark("web")) == []


def test_a_state_that_it_cannot_read_is_told_and_left(host: XenHost) -> None:
    up(host)
    host.finish(emulator.down(host, "web"))
    state = Path(swtpm.state_dir("web"), swtpm.STATES["2.0"])
    state.write_bytes(b"no TPM's state")
    with pytest.raises(XenError) as failed:
        up(host)
    assert failed.value.code == "tpm_emulator_failed"
    assert failed.value.evidence["result"] and failed.value.evidence["logs"][0]["tail"]
    assert state.read_bytes() == b"no TPM's state"
    assert (look(host), host.having(swtpm.mark("web"))) == ((False, False), [])


def test_forgotten_is_gone(host: XenHost) -> None:
    up(host)
    host.finish(emulator.down(host, "web"))
    emulator.forget(host, "web")
    assert os.listdir(swtpm.STATE_DIR) == []
    emulator.forget(host, "web")


@pytest.mark.skipif(QEMU is None, reason="there is no qemu-system-x86_64")
@pytest.mark.parametrize(("version", "model"), [("1.2", "tis"), ("2.0", "tis"), ("2.0", "crb")])
@pytest.mark.parametrize("sign", [signal.SIGHUP, signal.SIGKILL], ids=["as libxl ends it", "killed"])
def test_the_real_qemu_takes_the_arguments_and_comes_again(host: XenHost, version: str, model: str, sign: int) -> None:
    up(host, version)
    guest = swtpm.spelled(Guest(name="web", vtpm=(Vtpm(kind="emulator", version=version, model=model),)))
    for _time in range(2):
        argv = [str(QEMU), "-M", "q35", "-accel", "tcg", "-S", "-display", "none", *(guest.device_model.args or ())]
        qemu = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("QEMU is not connected", lambda one=qemu: look(host)[1] or one.poll() is not None)
        assert qemu.poll() is None
        wait_until("QEMU takes no signals yet", lambda pid=qemu.pid: ready(pid))
        qemu.send_signal(sign)
        qemu.wait(PATIENCE)
        free(host)


def ready(pid: int) -> bool:
    """Whether QEMU catches SIGHUP, as it does when its machine is made."""
    text = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line for line in text.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return bool(caught >> (signal.SIGHUP - 1) & 1)
