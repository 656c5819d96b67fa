# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What /etc/init.d/xen does with the daemons. As Debian's, it never ends a xenstored: that keeps what all domains know."""

from __future__ import annotations

import subprocess
import sys

sys.path.insert(0, "/usr/lib/xen-simulation")

import daemons

NOT_RUNNING = 3  # the Linux Standard Base's exit code of "status"
ANSWERS = ["timeout", "10", "xenstore-read", "-s", "/"]


def stop() -> None:
    daemons.end("xenconsoled")


def restart() -> None:
    stop()
    daemons.start()


def status() -> None:
    answer = subprocess.run(ANSWERS, capture_output=True, check=False)
    up = answer.returncode == 0 and daemons.runs("xenconsoled")
    print(f"xen is {'running' if up else 'stopped'}")
    sys.exit(0 if up else NOT_RUNNING)


ACTIONS = {"start": daemons.start, "stop": stop, "restart": restart, "force-reload": restart, "status": status}


def main() -> None:
    action = ACTIONS.get(" ".join(sys.argv[1:]))
    if not action:
        print(f"Usage: /etc/init.d/xen {{{'|'.join(ACTIONS)}}}", file=sys.stderr)
        sys.exit(3)
    try:
        action()
    except (daemons.BootError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"xen: {error}")


if __name__ == "__main__":
    main()
