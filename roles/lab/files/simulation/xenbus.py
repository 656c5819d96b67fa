# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the two ends of a PV device find each other: XenbusState (xen/include/public/io/xenbus.h), as rules without I/O.

The rules are those of Linux's blkback, netback, blkfront, netfront and of QEMU's back ends, as far as a tool stack sees them.
"""

from __future__ import annotations

from typing import NamedTuple

ABSENT, INITIALISING, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED, RECONFIGURING, RECONFIGURED = range(9)
UP = (INITIALISED, CONNECTED)


class Kind(NamedTuple):
    """A kind of device: what its back end waits for and writes, and how its front end begins."""

    waits_for: tuple[tuple[str, str], ...] = ()  # what its hotplug script writes: node, value (any, where that is empty)
    offers: tuple[tuple[str, str], ...] = ()  # nodes that the back end writes before it waits for the front end
    offers_late: tuple[tuple[str, str], ...] = ()  # ... right after it has begun to wait
    tells: tuple[tuple[str, str], ...] = ()  # ... before it is connected
    starts: int = INITIALISED  # what the front end goes to first
    gives: tuple[tuple[str, str], ...] = (("ring-ref", "8"), ("event-channel", "9"), ("protocol", "x86_64-abi"))


KINDS = {
    "vbd": Kind(
        waits_for=(("physical-device", ""),),
        offers=(("feature-max-indirect-segments", "256"), ("feature-discard", "0"), ("feature-flush-cache", "1")),
        tells=(("info", "0"), ("sector-size", "512"), ("physical-sector-size", "512"), ("feature-persistent", "1")),
        gives=(("ring-ref", "8"), ("event-channel", "9"), ("protocol", "x86_64-abi"), ("feature-persistent", "1")),
    ),
    "vif": Kind(
        waits_for=(("hotplug-status", "connected"),),
        offers=(("feature-sg", "1"), ("feature-gso-tcpv4", "1"), ("feature-rx-copy", "1"), ("feature-split-event-channels", "1")),
        starts=CONNECTED,
        gives=(("tx-ring-ref", "8"), ("rx-ring-ref", "9"), ("event-channel-tx", "10"), ("event-channel-rx", "11")),
    ),
    "vtpm": Kind(
        offers_late=(("feature-protocol-v2", "1"),),
        tells=(("ready", "1"),),
        gives=(("ring-ref", "8"), ("event-channel", "9"), ("feature-protocol-v2", "1")),
    ),
    "console": Kind(gives=(("ring-ref", "8"), ("port", "9"), ("protocol", "vt100"))),
}
OTHER = Kind()
# Whose back ends are QEMU's; all others are the kernel's of the back end's domain.
QEMUS = ("qdisk", "vkbd", "vfb", "console", "9pfs", "qusb", "qnic")


def kind(name: str) -> Kind:
    return KINDS.get(name, OTHER)


def backend_next(own: int, other: int, online: bool, ready: bool, qemu: bool = False) -> int:
    """The state that a back end goes to now; its own if it stays. ready: what it waits for is there."""
    if own == INITIALISING:
        return INIT_WAIT
    if own == RECONFIGURING:
        return RECONFIGURED
    if own == CLOSING and (other in (ABSENT, CLOSED) or (qemu and other not in (*UP, CLOSING))):
        return CLOSED
    if own in (INIT_WAIT, INITIALISED, RECONFIGURED) and other in UP and ready:
        return CONNECTED
    if own in (INIT_WAIT, INITIALISED, CONNECTED) and other in (CLOSING, CLOSED):
        return other
    if own == CLOSED and online and other == INITIALISING:
        return INIT_WAIT
    return own


def frontend_next(own: int, other: int, starts: int) -> int:
    """The state that a front end goes to now; its own if it stays."""
    if own == INITIALISING and other in (INIT_WAIT, INITIALISED, CONNECTED):
        return starts
    if own == INITIALISED and other == CONNECTED:
        return CONNECTED
    if own in (INITIALISED, CONNECTED, CLOSING) and other in (CLOSING, CLOSED):
        return CLOSED
    return own
