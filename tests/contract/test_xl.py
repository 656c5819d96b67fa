# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain xl beside the modules, by hand: what it does to guests that run, told by what xl itself then lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from xenhost import FROM_DISK, KINDS, PATIENT, PULL_THE_PLUG, Host

pytestmark = pytest.mark.no_guest_code

ROOM = {"max_memory": "256MiB", "max_vcpus": 2}
PATIENCE = 300  # seconds for all that a guest's kernel has a part in
DISK, MAC = "/var/lib/xen-lab/second.img", "00:16:3e:00:00:01"

# What xl lists, brought to a word. A disk and a NIC: the state of the front end, 4 is connected.
DISKS = "xl block-list {name} | awk '$1 == 51728 {{ print $4 }}'"
NICS = f"xl network-list {{name}} | awk '$3 == \"{MAC}\" {{{{ print $5 }}}}'"
CONFIG = f"xl list -l {{name}} | grep -c -e {DISK} -e {MAC}"
VCPUS = "xl vcpu-list {name} | awk 'NR > 1 && $4 != \"-\"' | wc -l"
MEMORY = "xl list {name} | awk 'NR > 1 {{ print int(($3 + 8) / 16) * 16 }}'"  # some MiB are video memory and ROMs
# (xl's words, what lists them, what is then listed), one after the other
CHANGES = (
    (f"block-attach {{name}} {DISK},raw,xvdb,rw", DISKS, "4"),
    ("list", CONFIG, "1"),
    ("block-detach {name} xvdb", DISKS, ""),
    (f"network-attach {{name}} mac={MAC} bridge=xenbr0", NICS, "4"),
    ("list", CONFIG, "1"),
    (f"network-detach {{name}} {MAC}", NICS, ""),
    ("list", CONFIG, "0"),
    ("vcpu-set {name} 2", VCPUS, "2"),
    ("vcpu-set {name} 1", VCPUS, "1"),
    ("mem-set {name} 128", MEMORY, "128"),
    ("mem-set {name} 144", MEMORY, "144"),
)
ANOTHER_RUNS = 'xl list | awk \'$1 == "{name}" && $2 != {domid} && $5 ~ /^[r-][b-]----$/ {{ print "another runs" }}\''


def listed(host: Host, changes: Sequence[tuple[str, str, str]], **names: Any) -> None:
    """xl does each, and then lists it. What a guest's kernel has a part in comes a moment later, and no event tells all of it."""
    script = ""
    for words, look, wanted in changes:
        seen, until = f"seen=$({look.format(**names)})", f"until [ \"$seen\" = '{wanted}' ] || [ $SECONDS -gt {PATIENCE} ]"
        script += f"xl {words.format(**names)} >/dev/null 2>&1; {seen}; {until}; do {seen}; done\n"
        script += f'echo "{words}: ${{seen:-nothing}}"\n'
    host.put("/root/changes", script)
    told = [f"{words}: {wanted or 'nothing'}" for words, _look, wanted in changes]
    assert host.sh("bash /root/changes").splitlines() == told


@pytest.fixture(scope="module")
def guests(xen: Host) -> Host:
    """A guest of each kind, called as it, with room for more; and a disk that nobody has."""
    xen.sh(f"truncate -s 16M {DISK}")
    made = xen.module("guests", guests=[{**xen.described(kind, kind), **ROOM, **PATIENT} for kind in sorted(KINDS)])
    assert not made["failed"], json.dumps(made, indent=1)
    return xen


@pytest.mark.parametrize("name", sorted(KINDS))
def test_what_can_be_changed_while_it_runs(guests: Host, name: str) -> None:
    listed(guests, CHANGES, name=name)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_reboot_makes_another_domain_of_the_same_name(guests: Host, name: str) -> None:
    before = guests.domid(name)
    guests.booted(name)
    listed(guests, [("reboot {name}", ANOTHER_RUNS, "another runs")], name=name, domid=before)
    assert (f"{name}-dm" in guests.domains()) == (name == "stubdom")


# --- what only the simulated host has the files or the kernels for

BY_HAND = "echo '{config}' >/root/{name}.cfg; xl create -q /root/{name}.cfg && xl domid {name}"
MINIOS = """name = "byhand"
type = "hvm"
memory = 192
disk = [ "/var/lib/xen-lab/guest.img,raw,xvda,ro" ]
device_model_version = "qemu-xen-traditional"
device_model_stubdomain_override = 1
"""
DIRECT = """type = "pv"
memory = 160
kernel = "/var/lib/xen-lab/vmlinuz"
ramdisk = "/var/lib/xen-lab/tiny.cpio.gz"
"""
VTPM = 'vtpm = [ "backend=tpm,uuid=ac0a5b9e-cbe2-4c07-b43b-1d69e46fb839" ]\n'
FRONTENDS = {"guest": {"frontends": ["vbd", "vif", "console", "vtpm"]}}
INIT_WAIT, CONNECTED = "2", "4"


def create(host: Host, name: str, config: str) -> int:
    """The domain that plain xl makes of the file."""
    return int(host.sh(BY_HAND.format(name=name, config=config)))


@pytest.fixture(scope="module")
def minios(xen: Host) -> Host:
    """A host with the device model of before QEMU came upstream, as a program and as a stubdomain."""
    qemu = "ln -s /usr/lib/xen-simulation/programs/qemu /usr/lib/xen-4.17/bin/qemu-dm"
    xen.sh(f"{qemu} && cp /usr/lib/xenfake/kernel /usr/lib/xen-4.17/boot/ioemu-stubdom.gz")
    return xen


@pytest.mark.only("simulated")
def test_a_minios_stubdomain_made_by_plain_xl(minios: Host) -> None:
    guest = create(minios, "byhand", MINIOS)
    stubdom = minios.domid("byhand-dm")
    assert minios.sh(f"xenstore-read /local/domain/{stubdom}/device-model/{guest}/state") == "running"
    minios.sh("xl destroy byhand")
    assert "byhand-dm" not in minios.domains()


@pytest.mark.only("simulated")
def test_a_minios_stubdomain_made_by_the_module(minios: Host) -> None:
    """It reports where a Linux one does since Xen 4.6: below its own domain."""
    disks = minios.disk("minios")
    described = {**FROM_DISK, "name": "minios", "disks": disks, "extra_config": {}, "stubdom": {"type": "minios"}}
    made = minios.guest(**described)
    guest, stubdom = made["guest"]["domid"], made["guest"]["stubdom"]["domid"]
    links = {link["link"]: link for link in made["readiness"]}
    assert links["device-model"]["path"] == f"/local/domain/{stubdom}/device-model/{guest}/state"
    assert (links["device-model"]["domain"], links["device-model"]["value"]) == (stubdom, "running")
    assert not minios.guest(**described)["changed"]
    minios.guest(name="minios", state="absent", **PULL_THE_PLUG)
    assert "minios-dm" not in minios.domains()


@pytest.mark.only("simulated")
def test_a_vtpm_is_served_by_a_domain_of_its_own(xen: Host) -> None:
    """Its back end waits for a guest that has no driver, and connects to one that has."""
    xen.put("/etc/xen-simulation/behaviours.json", json.dumps({"driven": FRONTENDS}))
    home = create(xen, "tpm", f'name = "tpm"\ndriver_domain = 1\n{DIRECT}')
    for name, state in (("undriven", INIT_WAIT), ("driven", CONNECTED)):
        domid = create(xen, name, f'name = "{name}"\n{DIRECT}{VTPM}')
        backend = f"/local/domain/{home}/backend/vtpm/{domid}/0"
        looks = [("vtpm-list {name}", "xl vtpm-list {name} | awk 'NR > 1 {{ print $NF }}'", backend)]
        looks += [("list", f"xenstore-read {backend}/state", state)]
        looks += [("destroy {name}", f"xenstore-exists {backend} && echo there", "")]
        listed(xen, looks, name=name)
    xen.sh("xl destroy tpm; rm /etc/xen-simulation/behaviours.json")
