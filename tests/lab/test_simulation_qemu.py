# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor of a simulated QEMU: over a socket, and what the machine behind it answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import monitor
import pytest
from chardevs import keys, listen, monitors, opened, vnc
from loop import Loop
from qemu_machine import Machine


class Client:
    """One libxl, driving the loop until the answer is there."""

    def __init__(self, loop: Loop, path: Path) -> None:
        self.loop, self.socket = loop, socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.setblocking(False)
        self.lines: list[dict] = []
        self.loop.readable(self.socket, self._read)

    def _read(self) -> None:
        self.lines += [json.loads(line) for line in self.socket.recv(65536).splitlines()]
        self.loop.stop()

    def hear(self, patience: float = 5) -> dict | None:
        """The next message; None if there is none within that time."""
        self.loop.later(patience, self.loop.stop)
        if not self.lines:
            self.loop.run()
        return self.lines.pop(0) if self.lines else None

    def ask(self, command: str) -> dict | None:
        self.socket.send(json.dumps({"execute": command, "id": 1}).encode() + b"\r\n")
        return self.hear()

    def close(self) -> None:
        self.loop.forget(self.socket)
        self.socket.close()


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def machine(events: list[str]) -> Machine:
    argv = ["-smp", "1,maxcpus=3"]
    return Machine(argv, lambda: events.append("quit"), lambda: events.append("power"), lambda n: events.append(f"cpus {n}"))


def ask(machine: Machine, command: str, **arguments: object) -> dict:
    return monitor.answer(machine.commands(), json.dumps({"execute": command, "arguments": arguments}).encode())


def test_a_client_is_greeted_and_answered(tmp_path: Path, machine: Machine) -> None:
    loop, path = Loop(), tmp_path / "qmp"
    served = monitor.Monitor(loop, listen(str(path)), machine.commands())
    client = Client(loop, path)
    assert client.hear()["QMP"]["version"]["qemu"]["major"] == 7
    assert client.ask("qmp_capabilities") == {"return": {}, "id": 1}
    assert client.ask("no-such")["error"]["class"] == "CommandNotFound"
    second = Client(loop, path)
    assert second.hear(0.05) is None, "one at a time, as QEMU's"
    client.close()
    assert "QMP" in second.hear()
    served.close()
    assert not path.exists()


def test_a_silent_one_says_nothing(tmp_path: Path, machine: Machine) -> None:
    loop, path = Loop(), tmp_path / "qmp"
    monitor.Monitor(loop, listen(str(path)), machine.commands(), silent=True)
    assert Client(loop, path).hear(0.05) is None


def test_what_is_no_json_is_told_so(machine: Machine) -> None:
    assert monitor.answer(machine.commands(), b"{")["error"]["class"] == "GenericError"
    assert monitor.answer(machine.commands(), b"1")["error"]["class"] == "GenericError"


def test_what_is_stopped_is_paused_until_it_continues(machine: Machine) -> None:
    ask(machine, "stop")
    assert ask(machine, "query-status")["return"]["status"] == "paused"
    ask(machine, "cont")
    assert ask(machine, "query-status")["return"]["status"] == "running"


def test_one_that_was_started_stopped_is_in_prelaunch(events: list[str]) -> None:
    quiet = Machine(["-S"], print, print, print, started=lambda: events.append("started"))
    assert ask(quiet, "query-status")["return"]["status"] == "prelaunch"
    ask(quiet, "cont"), ask(quiet, "stop"), ask(quiet, "cont")
    assert events == ["started"], "it starts once"


def test_cpus_are_plugged_up_to_the_maximum(machine: Machine, events: list[str]) -> None:
    assert [("qom-path" in cpu) for cpu in ask(machine, "query-hotpluggable-cpus")["return"]] == [False, False, True]
    for number in (1, 2):
        assert "return" in ask(machine, "device_add", id=f"cpu-{number}", driver="qemu32-i386-cpu")
    assert "error" in ask(machine, "device_add", id="cpu-3", driver="qemu32-i386-cpu")
    assert len(ask(machine, "query-cpus-fast")["return"]) == 3 and events == ["cpus 2", "cpus 3"]


def test_vnc_serials_and_buttons(machine: Machine, events: list[str]) -> None:
    assert ask(machine, "query-vnc")["return"] == {"enabled": False}
    with socket.create_server(("127.0.0.1", 0)) as machine.vnc:
        assert ask(machine, "query-vnc")["return"]["service"] == str(machine.vnc.getsockname()[1])
    machine.chardevs["serial0"] = "pty:/dev/pts/4"
    assert ask(machine, "query-chardev")["return"][0] == {"label": "serial0", "filename": "pty:/dev/pts/4", "frontend-open": True}
    ask(machine, "system_powerdown"), ask(machine, "quit")
    assert events == ["power", "quit"]


def test_a_device_is_gone_once(machine: Machine) -> None:
    ask(machine, "device_add", id="usb1", driver="usb-host")
    assert "return" in ask(machine, "device_del", id="usb1")
    assert ask(machine, "device_del", id="usb1")["error"]["class"] == "DeviceNotFound"


def test_what_the_arguments_say_is_opened(tmp_path: Path) -> None:
    with listen(str(tmp_path / "given")) as given:
        argv = [
            *(
                "-chardev",
                f"socket,id=libxl-cmd,path={tmp_path}/cmd,server=on,wait=off",
                "-mon",
                "chardev=libxl-cmd,mode=control",
            ),
            *("-chardev", f"socket,id=early,fd={os.dup(given.fileno())},server=on", "-mon", "chardev=early,mode=control"),
            *(
                "-chardev",
                f"socket,id=channel,path={tmp_path}/channel,server=on,wait=off",
                "-chardev",
                "pty,id=other",
                "-serial",
                "pty",
            ),
        ]
        chardevs = opened(argv)
    assert [one.name for one in chardevs] == ["libxl-cmd", "early", "channel", "other", "serial0"]
    assert [Path(one.getsockname()).name for one in monitors(argv, chardevs)] == ["cmd", "given"]
    assert (tmp_path / "channel").is_socket()
    assert all(one.terminal.startswith("/dev/pts/") for one in chardevs[3:])
    for one in chardevs[:3]:
        one.listener.close()


def test_vnc_takes_the_first_free_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        display = taken.getsockname()[1] - 5900
        with pytest.raises(OSError, match="available port"):
            vnc(["-vnc", f"127.0.0.1:{display},to={display}"])
        with vnc(["-vnc", f"127.0.0.1:{display},to={display + 50}"]) as found:
            assert found.getsockname()[1] > taken.getsockname()[1]
    assert vnc(["-vnc", "none"]) is None and vnc([]) is None
    assert keys("127.0.0.1:1,to=99") == {"to": "99"}


@pytest.mark.parametrize(
    ("argv", "real"),
    [
        (["-tpmdev", "help"], True),
        (["--version"], True),
        (["-xen-domid", "4", "-tpmdev", "emulator,id=tpm"], False),
        (["-d", "4", "-tpmdev", "emulator,id=tpm"], False),
    ],
)
def test_the_real_one_is_run_for_questions_only(argv: list[str], real: bool) -> None:
    """Neither gets far here: there is no real one to execute, and no xenstore."""
    simulation = Path(monitor.__file__).parent
    program = [sys.executable, str(simulation / "programs/qemu.py"), *argv]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(simulation), *sys.path])}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode and ("os.execv(REAL" in done.stderr) == real, done.stderr
    assert ("qemu-system-i386: " in done.stderr) != real, done.stderr
