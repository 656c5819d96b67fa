# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Emulated hosts: python labhost COMMAND LAB_DIR NAME... [options]. Prints {"changed": ..., "did": {NAME: ...}} as JSON."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "runner"))

import frame
import machine
import preflight
import process
import remote
from emulated import EmulatedHost
from layout import FRESH, LabError
from qmp import QmpError, hmp


def start(host: EmulatedHost, options: argparse.Namespace) -> str:
    """Have the host's QEMU run on the given image with the given memory; another image or memory makes a new host."""
    wanted = {"image": options.image, "memory": options.memory, "machine": machine.identity()}
    outdated = any(host.record().get(key) != value for key, value in wanted.items())
    if process.pid_of(host):
        if not outdated:
            return ""
        stop(host, options)
    port = preflight.choose_port(host, EmulatedHost.all(options.lab_dir), options.port)
    preflight.require_port(host, port)
    preflight.require_memory(host, options.memory)
    preflight.require_space(host)
    host.write_record({**wanted, "port": port})
    saved = [] if outdated else host.snapshots()
    if FRESH not in saved:
        machine.new_disk(host, options.image)
        machine.launch(host, None)
        return "booting from its image"
    host.require_snapshot(options.snapshot)
    machine.launch(host, options.snapshot)
    remote.set_clock(host, _deadline(options))
    return f"started at snapshot {options.snapshot}"


def ready(host: EmulatedHost, options: argparse.Namespace) -> str:
    """Wait until root can log in; save the first snapshot if there is none."""
    try:
        if FRESH in host.snapshots():
            return "clock set" if remote.set_clock(host, _deadline(options), tolerance=10) else ""
        remote.await_boot(host, _deadline(options))
        remote.set_clock(host, _deadline(options), tolerance=10)
    except LabError:
        if FRESH not in host.snapshots():
            process.stop(host)  # half booted it is of no use to the next run
        raise
    _monitor(host, f"savevm {FRESH}")
    return f"booted, snapshot {FRESH} saved"


def save(host: EmulatedHost, options: argparse.Namespace) -> str:
    """Save the running host as a snapshot, over one of the same name."""
    process.require_running(host)
    remote.disconnect(host)  # a saved connection would be a dead one when the snapshot is loaded
    _monitor(host, f"savevm {options.snapshot}")
    return f"snapshot {options.snapshot} saved"


def reset(host: EmulatedHost, options: argparse.Namespace) -> str:
    """Take the host back to a snapshot, running or not.

    By a new QEMU: with loadvm in a running one the emulated TSC does not go back (cpu_get_ticks in QEMU 7.2's
    softmmu/cpu-timers.c never lets it), all other timers do, and Xen's time stands still until they have caught up.
    """
    host.require_snapshot(options.snapshot)
    remote.disconnect(host)
    process.stop(host, gently=False)
    preflight.require_port(host, host.record()["port"])
    machine.launch(host, options.snapshot)
    remote.set_clock(host, _deadline(options))
    return f"back at snapshot {options.snapshot}"


def stop(host: EmulatedHost, options: argparse.Namespace) -> str:
    remote.disconnect(host)
    return "stopped" if process.stop(host) else ""


def absent(host: EmulatedHost, options: argparse.Namespace) -> str:
    there = bool(host.record())
    stop(host, options)
    shutil.rmtree(host.run, ignore_errors=True)
    shutil.rmtree(host.directory, ignore_errors=True)
    return "removed" if there else ""


COMMANDS = {function.__name__: frame.each(function) for function in (start, ready, save, reset, stop, absent)}


def describe(host: EmulatedHost) -> dict[str, Any]:
    return {"key": str(host.image() / "id_ed25519"), "control_path": str(host.control)}


def _deadline(options: argparse.Namespace) -> float:
    return time.monotonic() + float(options.timeout)


def _monitor(host: EmulatedHost, command: str) -> None:
    try:
        said = hmp(host.qmp, command).strip()
    except QmpError as error:
        raise LabError(f"{host.name}: {error}") from error
    if said:
        raise LabError(f"QEMU of {host.name} was to do '{command}', but says: {said}")


if __name__ == "__main__":
    frame.main(EmulatedHost, COMMANDS, patterns=("[0-9a-f]*",), describe=describe)
