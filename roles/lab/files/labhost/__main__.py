# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab host: python labhost COMMAND LAB_DIR NAME [options]. Prints {"changed": ..., "did": ...} as JSON.

Every command looks at what is there first, so that it can be repeated, and holds the host's lock meanwhile.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import sys
import time
from typing import Any

import machine
import preflight
import process
import remote
from layout import LabError, Layout
from qmp import QmpError, hmp

FRESH = "fresh"  # saved when the host has booted for the first time


def start(host: Layout, options: argparse.Namespace) -> str:
    """Have the host's QEMU run on the given image with the given memory; another image or memory makes a new host."""
    wanted = {"image": options.image, "memory": options.memory, "qemu": machine.version()}
    outdated = any(host.record().get(key) != value for key, value in wanted.items())
    if process.pid_of(host):
        if not outdated:
            return ""
        stop(host, options)
    port = preflight.choose_port(host, Layout.all(options.lab_dir), options.port)
    preflight.require_port(host, port)
    preflight.require_memory(host, options.memory)
    host.write_record({**wanted, "port": port})
    saved = [] if outdated else machine.snapshots(host)
    if FRESH not in saved:
        machine.new_disk(host, options.image)
        machine.launch(host, None)
        return "booting from its image"
    _require_snapshot(host, options.snapshot, saved)
    machine.launch(host, options.snapshot)
    remote.set_clock(host, _deadline(options))
    return f"started at snapshot {options.snapshot}"


def ready(host: Layout, options: argparse.Namespace) -> str:
    """Wait until root can log in; save the first snapshot if there is none."""
    try:
        if FRESH in machine.snapshots(host):
            return "clock set" if remote.set_clock(host, _deadline(options), tolerance=10) else ""
        remote.await_boot(host, _deadline(options))
        remote.set_clock(host, _deadline(options), tolerance=10)
    except LabError:
        if FRESH not in machine.snapshots(host):
            process.stop(host)  # half booted it is of no use to the next run
        raise
    _monitor(host, f"savevm {FRESH}")
    return f"booted, snapshot {FRESH} saved"


def save(host: Layout, options: argparse.Namespace) -> str:
    """Save the running host as a snapshot, over one of the same name."""
    _require_running(host)
    remote.disconnect(host)  # a saved connection would be a dead one when the snapshot is loaded
    _monitor(host, f"savevm {options.snapshot}")
    return f"snapshot {options.snapshot} saved"


def reset(host: Layout, options: argparse.Namespace) -> str:
    """Take the host back to a snapshot, running or not.

    By a new QEMU: with loadvm in a running one the emulated TSC does not go back (cpu_get_ticks in QEMU 7.2's
    softmmu/cpu-timers.c never lets it), all other timers do, and Xen's time stands still until they have caught up.
    """
    _require_snapshot(host, options.snapshot, machine.snapshots(host))
    remote.disconnect(host)
    process.stop(host, gently=False)
    preflight.require_port(host, host.record()["port"])
    machine.launch(host, options.snapshot)
    remote.set_clock(host, _deadline(options))
    return f"back at snapshot {options.snapshot}"


def stop(host: Layout, options: argparse.Namespace) -> str:
    remote.disconnect(host)
    return "stopped" if process.stop(host) else ""


def absent(host: Layout, options: argparse.Namespace) -> str:
    there = bool(host.record())
    stop(host, options)
    shutil.rmtree(host.run, ignore_errors=True)
    shutil.rmtree(host.directory, ignore_errors=True)
    return "removed" if there else ""


COMMANDS = {function.__name__: function for function in (start, ready, save, reset, stop, absent)}


def status(lab_dir: str) -> dict[str, Any]:
    """All hosts of the lab by name: what they are made of, whether they run, how to reach them."""
    return {
        host.name: {
            **host.record(),
            "pid": process.pid_of(host),
            "snapshots": machine.snapshots(host),
            "key": str(host.image() / "id_ed25519"),
            "control_path": str(host.control),
        }
        for host in Layout.all(lab_dir)
    }


def prune(lab_dir: str, wanted: str) -> str:
    """Remove the images that are neither wanted nor some host's."""
    images = Layout.of(lab_dir, "any").images
    used = {host.record()["image"] for host in Layout.all(lab_dir)} | {wanted}
    unused = [path for path in images.glob("[0-9a-f]*") if path.name not in used]
    for path in unused:
        shutil.rmtree(path)
    return " ".join(path.name for path in unused)


def _deadline(options: argparse.Namespace) -> float:
    return time.monotonic() + float(options.timeout)


def _monitor(host: Layout, command: str) -> None:
    said = hmp(host.qmp, command).strip()
    if said:
        raise LabError(f"QEMU of {host.name} was to do '{command}', but says: {said}")


def _require_running(host: Layout) -> None:
    if not process.pid_of(host):
        raise LabError(f"{host.name} was to be running, but there is no QEMU of {host.directory}. Start it: make lab")


def _require_snapshot(host: Layout, name: str, there: list[str]) -> None:
    if name not in there:
        raise LabError(
            f"{host.name} was to go to its snapshot {name}, but it has {', '.join(there) or 'none'}."
            " Boot it first (make lab), or save that snapshot (lab_state: saved)."
        )


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="labhost", description=__doc__)
    parser.add_argument("command", choices=[*COMMANDS, "status", "prune"])
    parser.add_argument("lab_dir")
    parser.add_argument("name", nargs="?", help="the host's")
    parser.add_argument("--image", help="the image's digest")
    parser.add_argument("--memory", type=int, help="MiB")
    parser.add_argument("--port", type=int, help="the lab's first ssh port")
    parser.add_argument("--snapshot", default=FRESH)
    parser.add_argument("--timeout", type=float, default=600, help="seconds for a boot")
    return parser.parse_args(arguments)


def perform(options: argparse.Namespace) -> dict[str, Any]:
    if options.command == "status":
        return status(options.lab_dir)
    if options.command == "prune":
        did = prune(options.lab_dir, options.image)
        return {"changed": bool(did), "did": did}
    host = Layout.of(options.lab_dir, options.name)
    host.directory.mkdir(parents=True, exist_ok=True)
    with (host.directory.parent / f".{host.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begin = time.monotonic()
        host.directory.mkdir(exist_ok=True)  # "absent" may have held the lock
        did = COMMANDS[options.command](host, options)
    return {"changed": bool(did), "did": did, "seconds": round(time.monotonic() - begin, 1)}


if __name__ == "__main__":
    try:
        print(json.dumps(perform(parse(sys.argv[1:]))))
    except (LabError, QmpError) as error:
        sys.exit(str(error))
