# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Many hosts asked with one module, by Ansible itself in a process of its own.

The command `ansible` is run, and not its classes in here. Those are no interface and change with each release; they fork
from a process that has more to do, put their hands on its signals, its display and its plugin loader, and the inventory may
be read anew in the midst of a play that uses them. A process has its end: when a connection hangs in a way that a task's
time limit does not end, it is ended, the hosts that answered are kept, and those that had no turn yet are asked by another.

How hosts are reached (connection, user, privileges, ssh's arguments) is said by their own inventory, ansible.cfg and
environment. The secrets of vaults that are open here go along through pipes, and touch no disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

ASKING = "STUBDOM_XEN_ASKING"  # in the environment of whoever asks: an inventory that is among its own sources stays empty
CALLBACK = "stubdom.xen.whole_results"
GRACE = 5.0  # seconds after a host's limit until the process that asks it is taken for stuck
STARTING = 60.0  # seconds for Ansible to start and to read the inventory
ENDING = 10.0  # seconds for Ansible to end its workers when it is told to
SAID = 2000  # characters of what Ansible said that are kept


@dataclass(frozen=True)
class Question:
    """sources: inventories, as for -i. pattern: of hosts. timeout: seconds for each host. vaults: (id, password) pairs.
    collections: where Ansible looks for collections."""

    sources: Sequence[str]
    pattern: str
    module: str
    forks: int
    timeout: int
    collections: Sequence[str] = ()
    vaults: Sequence[tuple[str, bytes]] = ()


class NotAsked(Exception):
    """Ansible ended before it asked anybody; the text is what it said."""


@dataclass
class Answers:
    """results: host -> the module's result. failures: host -> why there is none, as Ansible words it (foreign text)."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def of(self, host: str) -> bool:
        return host in self.results or host in self.failures


def ask(question: Question, hosts: Sequence[str]) -> Answers:
    """Asks each of the hosts, at most ``forks`` at a time. Each has a result or a failure in the end. Raises NotAsked."""
    answers = Answers()
    while left := [host for host in hosts if not answers.of(host)]:
        overdue, said = _run(question, left, answers)
        late = f"gave no answer within {question.timeout} s"
        answers.failures.update((host, late) for host in overdue if not answers.of(host))
        if not any(answers.of(host) for host in left):
            raise NotAsked(said)
    return answers


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """While the sources are read here."""
    os.environ[ASKING] = "1"
    try:
        yield
    finally:
        del os.environ[ASKING]


def _run(question: Question, hosts: Sequence[str], answers: Answers) -> tuple[set[str], str]:
    """One process. Returns the hosts that were begun and did not answer in time, and what Ansible said."""
    mark = secrets.token_hex(16)
    begun: set[str] = set()
    with (
        tempfile.TemporaryDirectory(prefix="stubdom.xen-") as folder,
        tempfile.TemporaryFile() as said,
        _pipes(question) as vaults,
    ):
        limit = os.path.join(folder, "hosts")
        with open(limit, "w", encoding="utf-8") as file:
            file.write("\n".join(hosts) + "\n")
        command = [*_command(question), "--limit", f"@{limit}", *(word for pair in vaults for word in ("--vault-id", pair[0]))]
        process = subprocess.Popen(
            command,
            env=_environment(question, mark, folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            pass_fds=[fd for _word, fd in vaults],
            start_new_session=True,
        )
        ended = False
        try:
            ended = _listen(process, question, mark, begun, answers)
        finally:
            _end(process, ended)
            _end_strays(f"STUBDOM_XEN_MARK={mark}".encode())
        said.seek(max(0, said.seek(0, os.SEEK_END) - SAID))
        return begun, said.read().decode("utf-8", "backslashreplace").strip()


def _command(question: Question) -> list[str]:
    sources = [word for source in question.sources for word in ("-i", source)]
    limits = ["--forks", str(question.forks), "--task-timeout", str(question.timeout)]
    return [sys.executable, "-m", "ansible", "adhoc", *sources, "-m", question.module, *limits, question.pattern]


def _environment(question: Question, mark: str, folder: str) -> dict[str, str]:
    """This process's own, but for what would hide or disturb the answers. folder: one without plugins."""
    given = {
        ASKING: "1",
        "STUBDOM_XEN_MARK": mark,
        "ANSIBLE_STDOUT_CALLBACK": CALLBACK,
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
        "ANSIBLE_CALLBACKS_ENABLED": CALLBACK,  # and no other, such as one that sends mail
        "ANSIBLE_CALLBACK_PLUGINS": folder,
        "ANSIBLE_ASK_PASS": "0",
        "ANSIBLE_BECOME_ASK_PASS": "0",
        "ANSIBLE_ASK_VAULT_PASS": "0",
        "ANSIBLE_NO_LOG": "0",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_VERBOSITY": "0",
    }
    if question.collections:
        given["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join(question.collections)
    return {**os.environ, **given}


@contextlib.contextmanager
def _pipes(question: Question) -> Iterator[list[tuple[str, int]]]:
    """For each secret a pipe that holds it: the word after --vault-id, and the end to read from."""
    made: list[tuple[str, int]] = []
    try:
        for name, secret in question.vaults:
            reader, writer = os.pipe()
            made.append((f"{name}@/dev/fd/{reader}", reader))
            with open(writer, "wb") as file:
                file.write(secret)
        yield made
    finally:
        for _word, reader in made:
            os.close(reader)


def _listen(process: Any, question: Question, mark: str, begun: set[str], answers: Answers) -> bool:
    """Takes what comes until Ansible ends (True), or until it says nothing for longer than whom it asks now may take."""
    inbox, deadline = b"", time.monotonic() + STARTING + question.timeout
    out = process.stdout.fileno()
    while True:
        if not select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        data = os.read(out, 1 << 16)
        if not data:
            return True
        *lines, inbox = (inbox + data).split(b"\n")
        for line in lines:
            if line.startswith(mark.encode()):
                _take(json.loads(line[len(mark) :]), begun, answers)
                # whoever is asked now was begun before this moment
                deadline = time.monotonic() + question.timeout + GRACE


def _take(told: dict[str, Any], begun: set[str], answers: Answers) -> None:
    host, outcome = told["host"], told["outcome"]
    if outcome == "started":
        begun.add(host)
    elif outcome == "ok":
        answers.results[host] = told["result"]
    else:
        answers.failures[host] = _reason(outcome, told["result"])


def _reason(outcome: str, result: dict[str, Any]) -> str:
    """What a person is told. code: of one of this collection's errors."""
    code = f"{result['code']}: " if result.get("code") else ""
    return f"{'cannot be reached' if outcome == 'unreachable' else 'failed'}: {code}{result.get('msg', 'no reason given')}"


def _end(process: Any, ended: bool) -> None:
    """Ansible ends its workers and their children when it is asked to end. It is killed if it does not."""
    process.stdout.close()
    if not ended:
        process.terminate()
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_strays(mark: bytes) -> None:
    """Ansible leaves a connection's program behind when a task's time is over, such as an ssh that waits for a dead host.

    One that leads a session is left: that is how ssh keeps a connection for whoever comes next (ControlPersist).
    """
    for pid in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc/self") else ()):
        with contextlib.suppress(OSError):
            process = os.pidfd_open(int(pid))  # before it is looked at: from here on it is this process and no other
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    ours = mark in file.read().split(b"\0")
                if ours and os.getsid(int(pid)) != int(pid):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)
