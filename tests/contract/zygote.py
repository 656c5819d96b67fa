# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `ansible`, without the half second in which Python imports it: this process has, and forks for each run.

A line on stdin is the JSON list of a run's arguments, a line on stdout the JSON of {rc, out, err}. The run itself is
Ansible's own command line program from beginning to end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import IO, Any

HERE = os.path.abspath(__file__)


class Zygote:
    """Runs `ansible` with arguments; the environment is that of the zygote's start."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen([sys.executable, HERE], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, argv: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        """The finished run. A run that takes longer than ``timeout`` seconds is ended, and so is the zygote."""
        asked, answers = self.process.stdin, self.process.stdout
        assert asked is not None and answers is not None
        print(json.dumps({"argv": argv, "timeout": timeout}), file=asked, flush=True)
        line = answers.readline()
        assert line, f"`ansible {' '.join(argv)}` did not end within {timeout} s"
        told = json.loads(line)
        return subprocess.CompletedProcess(argv, told["rc"], told["out"], told["err"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve() -> None:
    import ansible.cli.adhoc
    import ansible.executor.task_queue_manager
    import ansible.plugins.strategy.linear

    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            pid = os.fork()
            if pid == 0:
                run_and_exit(ansible.cli.adhoc.AdHocCLI, asked, out, err)
            _pid, status = os.waitpid(pid, 0)
            said = {"rc": os.waitstatus_to_exitcode(status), "out": text(out), "err": text(err)}
        print(json.dumps(said), flush=True)


def run_and_exit(program: Any, asked: dict[str, Any], out: IO[bytes], err: IO[bytes]) -> None:
    """What the command `ansible` does. SIGALRM ends it when it takes too long."""
    import signal

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    signal.alarm(int(asked["timeout"]))
    code = 1
    try:
        program.cli_executor(["ansible", *asked["argv"]])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "backslashreplace")


if __name__ == "__main__":
    serve()
