# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A vTPM domain of role vtpm, made by plain xl, and a guest whose own code uses the TPM: what stays, and what is reset.

The guest's init asks the TPM what it has, extends a PCR and writes to the NV memory at each of its starts. The tests
tell one story, in their order.
"""

from __future__ import annotations

import pytest
import tpm_commands as tpm
from tpm_story import SECRET, answers_in, asked, script, worked
from xenhost import Host, appeared, gone

pytestmark = [pytest.mark.only("embedded"), pytest.mark.no_guest_code]  # test_vtpm.py tells the same of the module

PLACE = "/var/lib/vtpm-test"
VTPM = f"""
name = "web-vtpm"
type = "pv"
memory = 112
kernel = "/usr/lib/xen-4.17/boot/vtpm-stubdom-linux-kernel"
ramdisk = "/usr/lib/xen-4.17/boot/vtpm-stubdom-linux-rootfs"
extra = "vtpm.version=VERSION"
disk = ["{PLACE}/state.img,raw,xvda,rw"]
"""
GUEST = f"""
name = "web"
type = "pvh"
memory = 160
kernel = "/var/lib/xen-lab/vmlinuz"
ramdisk = "{PLACE}/ramdisk"
extra = "console=hvc0 quiet"
vtpm = ["backend=web-vtpm,uuid=5c0a1ee4-36bb-4b35-8d0c-1d6a0e5a4c0f"]
"""
# in the guest, in place of the tiny guest's /etc/rc
RC = """#!/bin/sh
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev 2> /dev/null
for module in /lib/modules/*.ko; do insmod "$module" 2> /dev/null; done
"""
ASKED = {"1.2": {**asked("1.2"), "random": tpm.get_random(8)}, "2.0": {"random": tpm.tpm2_get_random(8)}}


def ramdisk(version: str) -> str:
    """A command that makes the guest's ramdisk: the tiny guest's, and over it an /etc/rc that asks this."""
    rc = f"{RC}{script(ASKED[version])}acpid\necho told all\n"
    over = f"mkdir -p {PLACE}/over/etc && cd {PLACE}/over && cat > etc/rc <<'END'\n{rc}\nEND\nchmod 755 etc/rc"
    return f"{over}; (zcat /var/lib/xen-lab/tiny.cpio.gz; find . | cpio -o -H newc --quiet) > {PLACE}/ramdisk"


def said(domid: int, *keys: str) -> str:
    """A command that waits for one of these nodes below a domain's data, and prints it."""
    data = f"/local/domain/{domid}/data"
    look = " || ".join(f"xenstore-read {data}/{key} 2>/dev/null" for key in keys)
    watch = f"exec 3< <(xenstore-watch {data} 2>/dev/null); while read -r event <&3; do {{ {look}; }} && break; done; kill $!"
    return f"timeout 300 bash -c '{watch}'"


def vtpm_domain(xen: Host, version: str = "1.2") -> str:
    """Makes the vTPM domain; what it says of itself."""
    xen.put(f"{PLACE}/vtpm.cfg", VTPM.replace("VERSION", version))
    xen.sh(f"xl create {PLACE}/vtpm.cfg")
    return xen.sh(said(xen.domid("web-vtpm"), "vtpm-state", "stubdom-error"))


def told(xen: Host, domid: int) -> dict[str, bytes]:
    """What the guest's console tells of the TPM's answers, once it has told all."""
    tty = f"$(xenstore-read /local/domain/{domid}/console/tty)"
    lines = xen.sh(f"timeout 300 sed '/^told all/q' < {tty} | grep -a ^told").splitlines()
    assert lines[-1] == "told all"
    return answers_in(lines[:-1])


def guest(xen: Host) -> dict[str, bytes]:
    xen.sh(f"xl create {PLACE}/guest.cfg")
    return told(xen, xen.domid("web"))


def destroyed(xen: Host, name: str) -> str:
    """What xl says while a domain is destroyed, its nodes being gone afterwards."""
    domid = xen.domid(name)
    return xen.sh(f"xl destroy {name} 2>&1; {gone(domid)}")


def ended(name: str) -> str:
    """A command that ends when the domain, which powers off by itself, is gone."""
    look = f"xl list {name} >/dev/null 2>&1"
    watch = f"exec 3< <(xenstore-watch @releaseDomain); while read -r event <&3; do {look} || break; done; kill $!"
    return f"timeout 300 bash -c '{watch}'"


@pytest.fixture(scope="module")
def host(xen: Host) -> Host:
    xen.sh(f"mkdir {PLACE}; truncate -s 16M {PLACE}/state.img")
    xen.put(f"{PLACE}/guest.cfg", GUEST)
    xen.sh(ramdisk("1.2"))
    return xen


def test_the_role_builds_once(host: Host) -> None:
    assert host.role("vtpm")["changed"]
    assert not host.role("vtpm")["changed"]


def test_a_new_tpm_for_a_new_guest(host: Host) -> None:
    assert vtpm_domain(host) == "running"
    answers = guest(host)
    assert worked(answers) == {"pcr", "define", "write", "extend", "random"}
    assert answers["kept"][tpm.RESULT] == tpm.BAD_INDEX
    assert answers["pcr"].endswith(tpm.ZERO_PCR)


def test_a_guest_that_reboots_finds_what_it_kept_and_fresh_pcrs(host: Host) -> None:
    before = host.domid("web")
    host.sh(f"xl reboot web; {gone(before)}; {appeared('web')}")
    after = host.domid("web")
    answers = told(host, after)
    assert after != before
    assert answers["kept"].endswith(SECRET)
    assert answers["pcr"].endswith(tpm.ZERO_PCR)


def test_a_destroyed_guest_is_let_go_at_once(host: Host) -> None:
    """A back end that does not answer the toolstack's closing costs it ten seconds, and "unable to remove device"."""
    assert destroyed(host, "web").splitlines() == ["gone"]
    assert host.sh(f"xenstore-ls /local/domain/{host.domid('web-vtpm')}/backend/vtpm 2>/dev/null || true") == ""


def test_the_state_outlives_the_domain_that_had_it(host: Host) -> None:
    destroyed(host, "web-vtpm")
    assert vtpm_domain(host) == "running"
    answers = guest(host)
    assert answers["kept"].endswith(SECRET)
    assert answers["pcr"].endswith(tpm.ZERO_PCR)
    destroyed(host, "web-vtpm")


def test_a_state_of_the_other_version_is_left_as_it_is(host: Host) -> None:
    assert "is not of a TPM 2.0" in vtpm_domain(host, "2.0")


def test_a_tpm_2_answers_programs(host: Host) -> None:
    host.sh(f"{ended('web-vtpm')}; rm {PLACE}/state.img; truncate -s 16M {PLACE}/state.img")
    host.sh(ramdisk("2.0"))
    assert vtpm_domain(host, "2.0") == "running"
    destroyed(host, "web")
    assert worked(guest(host)) == {"random"}
    destroyed(host, "web-vtpm")


def test_a_disk_with_something_else_on_it_is_left_as_it_is(host: Host) -> None:
    host.sh(f"rm {PLACE}/state.img; truncate -s 16M {PLACE}/state.img")
    host.sh(f"printf x | dd of={PLACE}/state.img bs=1 seek=9M conv=notrunc status=none")
    assert "something else on it" in vtpm_domain(host)
    assert host.sh(f"tr -d '\\0' < {PLACE}/state.img") == "x"
