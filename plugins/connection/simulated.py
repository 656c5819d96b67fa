# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Into a simulated Xen host, by its namespaces.

A pid may be given to another process at any time, so the namespaces are opened first, and believed only when the process
that they belong to is then seen to be that host's and alive: from there on they stay what they are.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: simulated
short_description: Run tasks in a simulated Xen host of this machine
description:
  - Reaches a host that the role P(stubdom.xen.lab#role) started with C(lab_kind=simulated), by entering its namespaces with
    C(nsenter). The inventory that the role writes says all that is needed.
  - A command runs as root, in C(/root), with a small environment of its own. Nothing of the controller's environment is in it.
  - The host must run on the controller itself, and Ansible as root.
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
options:
  pid_file:
    description:
      - The file in which the role keeps the pid of the host's first process, C(init.pid) in the host's directory.
      - It is read at each connect, and the process is believed only if it is that host's.
    type: path
    required: true
    vars:
      - name: ansible_simulated_pid_file
  nsenter:
    description: The program that enters namespaces, from util-linux.
    type: str
    default: nsenter
    vars:
      - name: ansible_simulated_nsenter
  remote_user:
    description:
      - Only V(root) is there. It is an option so that tasks with C(become) to root run as they are.
    type: str
    default: root
    choices: [root]
    vars:
      - name: ansible_user
extends_documentation_fragment:
  - connection_pipelining
"""

EXAMPLES = r"""
# An inventory by hand; the role writes such a one.
xen:
  hosts:
    sim1:
      ansible_connection: stubdom.xen.simulated
      ansible_simulated_pid_file: /srv/project/.lab/simulated/sim1/init.pid
      ansible_python_interpreter: /usr/bin/python3
      ansible_pipelining: true
"""

import os
import select
import shlex
import signal
import subprocess

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_native
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display

# in the environment of all processes of a host, beside the host's directory; set by the role's files/simhost
MARK = "XEN_SIMULATED_HOST"
# nsenter's option -> file in /proc/PID. The root directory is entered too: where the host was started in a chroot, that of
# its mount namespace is this machine's.
NAMESPACES = {"uts": "ns/uts", "ipc": "ns/ipc", "net": "ns/net", "pid": "ns/pid", "mount": "ns/mnt", "root": "root"}
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LC_ALL": "C.UTF-8",
}
# Seconds within which the first process of a host follows those that were killed with it.
ENDING = 2
CLEAN = ["/usr/bin/env", "-i", "--chdir=/root", *(f"{name}={value}" for name, value in ENVIRONMENT.items())]

display = Display()


class NotThere(Exception):
    """The host does not run; the text says how that was seen."""


class Namespaces:
    """Those of a host's first process, held open by descriptors."""

    def __init__(self, pid_file):
        """pid_file: str. Raises NotThere."""
        self.directory = os.path.dirname(os.path.realpath(pid_file))
        self.pidfd, self.opened = -1, {}
        try:
            with open(pid_file, encoding="utf-8") as file:
                pid = int(file.read())
            self.pidfd = os.pidfd_open(pid)  # may be another's by now
            for option, name in NAMESPACES.items():
                self.opened[option] = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            if not (self._marked(pid) and self.alive()):
                raise NotThere(f"process {pid} is another's")
        except (OSError, ValueError, NotThere) as error:
            self.close()
            raise NotThere(str(error)) from error

    def _marked(self, pid):
        """Whether this process is the first of the host in this directory."""
        with open(f"/proc/{pid}/environ", "rb") as file:
            marked = os.fsencode(f"{MARK}={self.directory}") in file.read().split(b"\0")
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            pids = next(line.split()[1:] for line in file if line.startswith("NSpid:"))
        return marked and len(pids) > 1 and pids[-1] == "1"

    def alive(self, seconds=0):
        """Whether that process still runs, after so many seconds if it does: bool."""
        return not select.select([self.pidfd], [], [], seconds)[0]

    def enter(self, nsenter):
        """The beginning of a command that runs in them: list of str."""
        return [nsenter, *(f"--{option}=/proc/self/fd/{number}" for option, number in self.opened.items()), "--", *CLEAN]

    def close(self):
        for number in (self.pidfd, *self.opened.values()):
            if number >= 0:
                os.close(number)
        self.pidfd, self.opened = -1, {}


class Connection(ConnectionBase):
    """A simulated Xen host's namespaces."""

    transport = "stubdom.xen.simulated"
    has_pipelining = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._namespaces = None

    def _connect(self):
        if self._connected and not self._namespaces.alive():
            self.close()  # it was reset meanwhile, and may be there anew
        if not self._connected:
            pid_file = self.get_option("pid_file")
            try:
                self._namespaces = Namespaces(pid_file)
            except NotThere as error:
                raise AnsibleConnectionFailure(
                    f"The simulated Xen host of {pid_file} was to be entered, but it does not run ({error})."
                    " Start it with the role stubdom.xen.lab (lab_kind: simulated, lab_state: running)."
                ) from None
            self._connected = True
        return self

    def exec_command(self, cmd, in_data=None, sudoable=True):
        """Run a shell's command line; (exit code, stdout, stderr), the last two as bytes."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._run(["/bin/sh", "-c", cmd], in_data)

    def put_file(self, in_path, out_path):
        super().put_file(in_path, out_path)
        if not os.path.exists(in_path):
            raise AnsibleFileNotFound(f"{to_native(in_path)} was to be sent to the simulated host, but is not there.")
        with open(in_path, "rb") as file:
            self._copy(f"cat > {shlex.quote(out_path)}", stdin=file)

    def fetch_file(self, in_path, out_path):
        super().fetch_file(in_path, out_path)
        with open(out_path, "wb") as file:
            self._copy(f"cat < {shlex.quote(in_path)}", stdout=file)

    def reset(self):
        self.close()
        self._connect()

    def close(self):
        if self._namespaces:
            self._namespaces.close()
            self._namespaces = None
        self._connected = False

    def _copy(self, command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
        code, _out, err = self._run(["/bin/sh", "-c", command], None, stdin=stdin, stdout=stdout)
        if code:
            raise AnsibleError(f"'{command}' in the simulated host failed with {code}: {to_native(err).strip()}")

    def _run(self, words, in_data, stdin=subprocess.PIPE, stdout=subprocess.PIPE):
        self._connect()
        space = self._namespaces
        command = [to_bytes(word) for word in [*space.enter(self.get_option("nsenter")), *words]]
        display.vvv(f"EXEC {shlex.join(words)}", host=self._play_context.remote_addr)
        try:
            with subprocess.Popen(
                command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, pass_fds=space.opened.values(), env={}
            ) as child:
                try:
                    out, err = child.communicate(in_data)
                except BaseException:  # a task's time limit, for one: who leaves the block would wait for the child
                    child.kill()
                    raise
        except OSError as error:
            raise AnsibleConnectionFailure(f"{to_native(command[0])} was to run, but: {error}") from error
        # Processes of a host that ends are killed before its first one is gone.
        if child.returncode and not space.alive(ENDING if child.returncode == -signal.SIGKILL else 0):
            raise AnsibleConnectionFailure(f"The simulated Xen host of {space.directory} ended while a command ran in it.")
        return child.returncode, out, err
