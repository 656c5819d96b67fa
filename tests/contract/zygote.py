# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `ansible`, without the half second in which Python imports it: this process has, and forks for each run.

A line on stdin is the JSON of a run, a line on stdout that of {rc, out, err}. A run with `argv` is Ansible's own command line
program from beginning to end. One with a `command` for a host's shell takes Ansible's connection to it and nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

HERE = os.path.abspath(__file__)
BUILTIN = ("ansible.builtin", "runtime.yml")  # as Ansible's collection loader calls it


class Zygote:
    """Runs `ansible` with arguments; the environment is that of the zygote's start."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen([sys.executable, HERE], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, argv: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        """The finished run. A run that takes longer than ``timeout`` seconds is ended, and so is the zygote."""
        return self._ask({"argv": argv, "timeout": timeout})

    def shell(self, inventory: str, host: str, command: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """The same for a command of a shell on a host of this inventory."""
        return self._ask({"inventory": inventory, "host": host, "command": command, "timeout": timeout})

    def _ask(self, run: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        asked, answers = self.process.stdin, self.process.stdout
        assert asked is not None and answers is not None
        print(json.dumps(run), file=asked, flush=True)
        line = answers.readline()
        assert line, f"it did not end in time: {run}"
        told = json.loads(line)
        return subprocess.CompletedProcess(run.get("argv") or run["command"], told["rc"], told["out"], told["err"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve() -> None:
    import ansible.cli.adhoc
    import ansible.executor.task_queue_manager
    import ansible.plugins.strategy.linear  # noqa: F401 - for those that are forked

    read_beforehand()
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            pid = os.fork()
            if pid == 0:
                run_and_exit(asked, out, err)
            _pid, status = os.waitpid(pid, 0)
            said = {"rc": os.waitstatus_to_exitcode(status), "out": text(out), "err": text(err)}
        print(json.dumps(said), flush=True)


def read_beforehand() -> None:
    """Has the list of what Ansible's own plugins are called read once: it is YAML, and half of what a run takes to begin."""
    import functools

    import ansible
    from ansible.utils.collection_loader import _collection_finder

    known = functools.cache(_collection_finder._meta_yml_to_dict)
    known(Path(ansible.__file__).with_name("config").joinpath("ansible_builtin_runtime.yml").read_bytes(), BUILTIN)
    _collection_finder._meta_yml_to_dict = known


def run_and_exit(asked: dict[str, Any], out: IO[bytes], err: IO[bytes]) -> None:
    """Does what is asked. SIGALRM ends it when it takes too long."""
    import signal

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    signal.alarm(int(asked["timeout"]))
    code = 1
    try:
        code = in_shell(asked) if "command" in asked else as_command(asked["argv"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def as_command(argv: list[str]) -> int:
    """What the command `ansible` does."""
    from ansible.cli.adhoc import AdHocCLI

    try:
        AdHocCLI.cli_executor(["ansible", *argv])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def in_shell(asked: dict[str, Any]) -> int:
    """Runs the command by the host's connection plugin, as Ansible's own module `raw` does. The exit code of the command."""
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.playbook.play_context import PlayContext
    from ansible.plugins.loader import connection_loader, init_plugin_loader
    from ansible.vars.manager import VariableManager

    init_plugin_loader()
    loader = DataLoader()
    inventory = InventoryManager(loader, sources=[asked["inventory"]])
    known = VariableManager(loader, inventory).get_vars(host=inventory.get_host(asked["host"]))
    connection = connection_loader.get(known.get("ansible_connection", "ssh"), PlayContext(), None)
    connection.set_options(var_options=known)
    code, out, err = connection.exec_command(asked["command"], sudoable=False)
    sys.stdout.buffer.write(out)
    sys.stderr.buffer.write(err)
    return int(code)


def text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "backslashreplace")


if __name__ == "__main__":
    serve()
