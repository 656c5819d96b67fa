# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Known causes of a start that failed: by what somebody said, or by the link that did not hold.

xl ends with whatever it undid last. What failed first is in the middle of its output, in a log, or in the stubdomain's own
last words. Such words may be lies, so nothing is done because of a cause, and no pattern has an unbounded repeat.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional

TEXT_MAX = 16384  # characters at the end of each text that are looked at; logs come as 4 KiB, xl says less


class Cause(NamedTuple):
    """name: what playbooks test. what, hint: for people. pattern or link: by what it is known."""

    name: str
    what: str
    hint: str
    pattern: Optional[re.Pattern[str]] = None
    link: Optional[str] = None  # of the readiness chain, when it is the one that did not come

    def said_in(self, texts: Sequence[str]) -> bool:
        return self.pattern is not None and any(self.pattern.search(text) for text in texts)


def recognise(texts: Iterable[str], link: Optional[str] = None) -> Optional[Cause]:
    """The first cause that one of the texts tells (xl's stderr, ends of logs, a reason), or else the link; None: not known.

    link: the one that was waited for in vain. One that xl or a death forestalled says nothing: leave it out.
    """
    ends = [text[-TEXT_MAX:] for text in texts]
    told = next((cause for cause in CAUSES if cause.said_in(ends)), None)
    return told or next((cause for cause in CAUSES if link is not None and cause.link == link), None)


# The first row that fits is told: what says more comes before what follows from it.
CAUSES: tuple[Cause, ...] = (
    Cause(
        "stubdom_kernel_missing",
        "The stubdomain's kernel is missing or unreadable.",
        "run role stubdom.xen.stubdom_image, or correct `stubdom.kernel`",
        re.compile(r"could not access stubdomain kernel "),
    ),
    Cause(
        "stubdom_ramdisk_missing",
        "The stubdomain's ramdisk is missing or unreadable.",
        "run role stubdom.xen.stubdom_image, or correct `stubdom.ramdisk`",
        re.compile(r"could not access stubdomain ramdisk "),
    ),
    Cause(
        "stubdom_kernel_mismatch",
        "The stubdomain's kernel is not the one that the modules in its ramdisk were built for.",
        "run role stubdom.xen.stubdom_image, which builds both from one kernel, and leave `stubdom.kernel` out",
        re.compile(
            r"can't insert '[^'\n]{1,200}': (?:invalid module format|unknown symbol in module"
            r"|module has wrong symbol version|Key was rejected by service)|disagrees about version of symbol "
        ),
    ),
    Cause(
        "ioreq_not_mapped",
        "QEMU could not map the guest's ioreq server: the kernel that it runs on does not let it.",
        "run role stubdom.xen.stubdom_image: its image loads xen-privcmd with `unrestricted=1`, which kernels with the fix of"
        " XSA-482 need for libxendevicemodel 4.17",
        re.compile(r"failed to map ioreq server resources: error "),
    ),
    Cause(
        "qemu_without_tpm",
        "This host's QEMU was built without TPM emulation.",
        "use a vTPM domain, or a QEMU for which `-tpmdev help` lists `emulator` (`device_model.path`)",
        re.compile(r"-tpmdev: invalid option|'tpm-[a-z]{1,10}' is not a valid device model name"),
    ),
    Cause(
        "qemu_option_unknown",
        "QEMU does not know an option, device, property or machine that it was given.",
        "the last line of the device model's log names it; look at `device_model.args`, and run role stubdom.xen.stubdom_image"
        " after updates of the host",
        re.compile(
            r": -[^\s:]{1,100}: invalid option|is not a valid device model name|unsupported machine type"
            r"|Property '[^'\n]{1,100}' not found"
        ),
    ),
    Cause(
        "qemu_rom_missing",
        "QEMU did not find a device's ROM.",
        "install the package that has QEMU's ROMs (Debian: ipxe-qemu, seabios), then run role stubdom.xen.stubdom_image",
        re.compile(r"failed to find romfile "),
    ),
    Cause(
        "vnc_port_in_use",
        "The port for the guest's VNC screen is taken.",
        "give each guest its own `vnc.display`, or leave `vncunused` on, by which QEMU takes the next free one",
        re.compile(r"Failed to find an available port: Address already in use"),
    ),
    Cause(
        "chardev_unreachable",
        "Nobody listens on a socket that QEMU was told to connect to.",
        "start the program that serves the socket before the guest, such as swtpm; the device model's log names the socket",
        re.compile(r"-chardev [^\n]{1,300}: Failed to connect to "),
    ),
    Cause(
        "disk_in_use",
        "A disk of the guest is in use by another domain or program, or is mounted.",
        "stop what uses the disk; two guests share one only read-only",
        re.compile(
            r"Failed to get (?:shared )?\"[a-z ]{1,20}\" lock|Is another process using the image"
            r"|mounted (?:read-write )?in (?:a guest|the privileged) domain"
        ),
    ),
    Cause(
        "disk_missing",
        "The image or device of one of the guest's disks is missing or unreadable.",
        "make the image or volume first, or correct `target` of the disk",
        re.compile(
            r"Disk vdev=[^\s]{1,100} failed to stat: |script: [^\n]{1,300} (?:does not exist|is not a block device)\."
            r"|Could not open '[^'\n]{1,300}': (?:No such file|Permission denied)"
        ),
    ),
    Cause(
        "disk_format_wrong",
        "A disk's image is not of the format that is described.",
        "correct `format` of the disk: `qemu-img info` tells what the image is",
        re.compile(r"Image (?:is )?not in [a-zA-Z0-9]{1,20} format"),
    ),
    Cause(
        "bridge_missing",
        "The bridge for one of the guest's NICs does not exist.",
        "make the bridge first, or correct `bridge` of the NIC",
        re.compile(r"Could not find bridge device |Could not find bridge, and none was specified|No valid bridge was specified"),
    ),
    Cause(
        "hotplug_script_missing",
        "A script that libxl runs for one of the guest's devices is missing or not executable.",
        "install the script, by default in /etc/xen/scripts, or correct `script` of the disk or NIC",
        re.compile(r"libxl: cannot execute /"),
    ),
    Cause(
        "hotplug_script_failed",
        "The script that readies one of the guest's devices in dom0 failed.",
        "the line that begins with `script:` says why; if there is none, look at the end of /var/log/xen/xen-hotplug.log",
        # Not `remove` and `offline`: these fail while libxl undoes a start that failed for another reason.
        re.compile(
            r" (?:add|online) \[\d{1,10}\] (?:exited with error status|died due to)"
            r"|killing execution of [^\n]{1,200} (?:add|online) because of timeout"
        ),
    ),
    Cause(
        "vtpm_backend_absent",
        "No vTPM back end answers in the domain that the guest's vTPM names.",
        "start the vTPM domain first, and let the guest's vTPM name it",
        re.compile(r"unable to add device with path /local/domain/\d{1,5}/backend/vtpm/"),
        "vtpm",
    ),
    Cause(
        "backend_absent",
        "The back end of one of the guest's devices does not answer.",
        "in another domain: does it run, with its driver and `xl devd`? In dom0: is the back end's module loaded (xen-netback,"
        " xen-blkback)?",
        re.compile(r"unable to add device with path /local/domain/"),
        "backend",
    ),
    Cause(
        "host_out_of_memory",
        "The host has not enough free memory for the guest and its stubdomain.",
        "stop a guest, or give this one less; give dom0 a fixed amount (`dom0_mem=`), so that it need not shrink",
        re.compile(r"can't allocate low memory for domain|failed to free memory for the domain"),
    ),
    Cause(
        "memory_too_small",
        "The memory of the guest or of its stubdomain does not hold kernel and ramdisk.",
        "raise `stubdom.memory`, or `memory` of a pv or pvh guest",
        re.compile(r"segment [a-z0-9]{1,20} too large \("),
    ),
    Cause(
        "stubdom_out_of_memory",
        "The stubdomain ran out of memory.",
        "raise `stubdom.memory`",
        re.compile(
            r"the stubdomain ran out of memory|does not fit into the stubdomain's memory|System is deadlocked on memory"
            r"|Out of memory: Killed process |GLib[^\n]{1,100}: failed to allocate \d{1,20} bytes"
        ),
    ),
    Cause(
        "kernel_missing",
        "A file that Xen is to start, kernel or ramdisk, is missing or unreadable.",
        "put the file there, or correct its path",
        re.compile(r"xc: error: panic: [^\n]{1,100}failed to open file "),
    ),
    Cause(
        "kernel_invalid",
        "What was given as a kernel, the guest's or the stubdomain's, is nothing that Xen can start.",
        "give a Linux kernel with CONFIG_XEN_PV (pv, stubdomain) or CONFIG_PVH (pvh)",
        re.compile(r"xc_dom_find_loader: no loader found"),
    ),
    Cause(
        "passthrough_unsupported",
        "This host cannot hand devices through to guests: it has no IOMMU that Xen uses.",
        "switch VT-d or AMD-Vi on in the firmware; `xl info` shows it as virt_caps `hvm_directio`",
        re.compile(r"passthrough not supported on this platform"),
    ),
    Cause(
        "bootloader_failed",
        "The boot loader that dom0 runs for the guest failed.",
        "look at the log that xl names; pygrub needs a boot disk with a menu of GRUB that it understands",
        re.compile(r"bootloader failed - consult logfile|cannot run bootloader with no boot disk"),
    ),
    Cause(
        "device_model_missing",
        "The device model is missing in dom0 or not executable.",
        "run role stubdom.xen.host, which installs QEMU (Debian: qemu-system-xen), or correct `device_model.path`",
        re.compile(r"device model /[^\n]{1,300} is not executable"),
    ),
    Cause(
        "dom0_proxy_failed",
        "vchan-socket-proxy in dom0, by which libxl speaks to QEMU in the stubdomain, did not start or has ended.",
        "is it there and executable, beside xl's other programs (Debian: xen-utils)? Its log is"
        " `/var/log/xen/qmp-proxy-<guest>-dm.log`",
        re.compile(
            r"qmp proxy /[^\n]{1,300} is not executable|QMP Proxy already exited"
            r"|Unable to execute /[^\n]{1,300}/vchan-socket-proxy"
        ),
    ),
    Cause(
        "stubdom_root_missing",
        "The stubdomain's kernel found no ramdisk that it could use.",
        "run role stubdom.xen.stubdom_image, or correct `stubdom.ramdisk`; the kernel has to know how it is packed",
        re.compile(r"Unable to mount root fs|No working init found"),
    ),
    Cause(
        "stubdom_panicked",
        "The stubdomain's kernel panicked.",
        "its last words are at the end of the device model's log; run role stubdom.xen.stubdom_image after updates of the host",
        re.compile(r"Kernel panic - not syncing"),
    ),
    Cause(
        "dm_nodes_refused",
        "xenstored refuses what QEMU writes, as when its domain has used up its quota of nodes.",
        "is xenstored's quota lowered on this host? `xenstore-ls /local/domain/<stubdomain>` shows what the domain wrote",
        re.compile(r"xs_mkdir device-model/\d{1,5}/backends/[a-z0-9]{1,20}: failed|error recording dm state"),
    ),
    Cause(
        "console_unserved",
        "QEMU in dom0 does not serve one of the stubdomain's consoles, for which its kernel waits as long as libxl waits for it.",
        "give it one: `extra_config: {device_model_args_pv: ['-serial', 'null', '-serial', 'null', '-serial', 'null']}`",
        re.compile(r"No serial device #\d{1,3} found"),
    ),
    Cause(
        "qmp_proxy_absent",
        "No QMP proxy serves libxl in the stubdomain: xl unpause would wait 60 s and leave the guest paused.",
        "run role stubdom.xen.stubdom_image, or have your own image run `vchan-socket-proxy --mode=server`",
        link="qmp",
    ),
    Cause(
        "vtpm_manager_absent",
        "The vTPM domain has no connection to its vTPM manager.",
        "start the manager's domain first, then the vTPM's, then the guest",
        link="vtpm-manager",
    ),
)
