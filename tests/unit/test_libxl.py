# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What xl printed on a real host (recorded/), as records; and that a guest just made is what was asked for."""

from __future__ import annotations

import pytest
from simulated_host import RECORDED

from ansible_collections.stubdom.xen.plugins.module_utils import xlcfg
from ansible_collections.stubdom.xen.plugins.module_utils.compare import live_changes
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.fields import ABSENT
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import (
    Domain,
    guest_of_config,
    leaves,
    live_configs,
    parse_info,
    parse_json,
    parse_list,
)
from ansible_collections.stubdom.xen.plugins.module_utils.spec import LISTED, MIB, to_options

ROW = "{name:<40}     7   192     1     {flags}       5.4 557ad848-fb58-44cb-bc65-0d56a77a440d        -                -"
HEADER = "Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID\n"
BOTH = sorted(p.stem.split(".")[0] for p in RECORDED.glob("*.list-l.txt") if (RECORDED / f"{p.stem[:-7]}.create-n.txt").exists())


def recorded(name):
    return (RECORDED / name).read_text()


def test_the_list():
    domains = parse_list(recorded("list.txt"))
    assert [(d.name, d.domid, d.memory // MIB, d.vcpus, d.flags) for d in domains] == [
        ("Domain-0", 0, 1536, 1, "r-----"), ("web", 1, 160, 1, "--p---"), ("shop", 2, 192, 1, "--p---"),
        ("vault", 3, 192, 1, "--p---"), ("vault-dm", 4, 264, 1, "-b----"),
    ]  # fmt: skip
    assert domains[3].uuid == "11111111-2222-3333-4444-555555555555"
    assert domains[4].seconds == 5.4


@pytest.mark.parametrize(
    ("flags", "paused", "shut_down", "crashed", "dying"),
    [
        ("r-----", False, False, False, False), ("-b----", False, False, False, False), ("------", False, False, False, False),
        ("--p---", True, False, False, False), ("---s--", False, True, False, False), ("---sr-", False, True, False, False),
        ("---sc-", False, True, True, False), ("---ss-", False, True, False, False), ("---sw-", False, True, False, False),
        ("--p--d", True, False, False, True), ("--pssd", True, True, False, True), ("---s?-", False, True, False, False),
    ],
)  # fmt: skip
def test_the_flags(flags, paused, shut_down, crashed, dying):
    [domain] = parse_list(HEADER + ROW.format(name="x", flags=flags))
    assert (domain.paused, domain.shut_down, domain.crashed, domain.dying) == (paused, shut_down, crashed, dying)
    assert domain.alive == (not (shut_down or crashed or dying))


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("(null)", "(null)"),
        ("with  blanks 12", "with  blanks 12"),
        ("a" * 60, "a" * 60),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("", ""),
    ],
)
def test_names_as_guests_and_zombies_have_them(printed, name):
    [domain] = parse_list(HEADER + ROW.format(name=printed, flags="--p--d"))
    assert (domain.name, domain.domid, domain.dying) == (name, 7, True)


@pytest.mark.parametrize("line", ["web 1", "xl: command failed", ROW.format(name="x", flags="??????")])
def test_a_line_that_cannot_be_read_is_an_error_and_no_missing_domain(line):
    with pytest.raises(XenError) as failed:
        parse_list(HEADER + line)
    assert failed.value.code == "xl_output"


def test_the_host():
    about = parse_info(recorded("info.txt"))
    assert (about.version, about.extra, about.total_memory // MIB, about.cpus) == ((4, 17), ".7", 6143, 2)
    assert about.capabilities == ("pv", "hvm", "hap", "gnttab-v1", "gnttab-v2")
    assert "dom0_mem=1536M" in about.commandline


def test_a_host_without_a_version():
    with pytest.raises(XenError):
        parse_info("host : x\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [("[]\n", []), ("a warning\n[\n]\n", []), ('Parsing config from x\n{"a": 1}', {"a": 1}), ("", None), ("no", None)],
)
def test_json_after_whatever_xl_had_to_say(text, value):
    assert parse_json(text) == value


def test_json_cut_off():
    with pytest.raises(XenError) as failed:
        parse_json('[{"domid": 1')
    assert failed.value.code == "xl_output"


@pytest.mark.parametrize("name", BOTH)
def test_a_domain_just_made_is_what_was_asked_for(name):
    """The two outputs differ in what libxl fills in. Neither that nor the UUID that xl made up is a difference."""
    asked = parse_json(recorded(f"{name}.create-n.txt"))
    [listed] = parse_json(recorded(f"{name}.list-l.txt"))
    live = live_configs(recorded(f"{name}.list-l.txt"))[listed["domid"]]
    asked["c_info"]["uuid"] = live["c_info"]["uuid"]
    wanted = guest_of_config(asked)
    assert live_changes(wanted, asked, live) == ()
    assert live_changes(xlcfg.read(recorded(f"{name}.cfg")), asked, live) == ()


@pytest.mark.parametrize("name", sorted(p.name[: -len(".create-n.txt")] for p in RECORDED.glob("*.create-n.txt")))
def test_the_file_and_the_hosts_reading_of_it_agree(name):
    """Every field that the file gives has the same value in libxl's JSON of that file."""
    written = to_options(xlcfg.read(recorded(f"{name}.cfg")))
    read = {**ABSENT, **to_options(guest_of_config(parse_json(recorded(f"{name}.create-n.txt"))))}
    for option, value in written.items():
        if option in LISTED:
            assert len(value) == len(read[option])
            for given, found in zip(value, read[option]):
                given.pop("rate", None)  # many spellings for one rate
                assert {k: v for k, v in found.items() if k in given} == given
        elif isinstance(value, dict) and option != "extra_config":
            assert {k: v for k, v in read[option].items() if k in value} == value
        elif option != "extra_config":
            assert read[option] == value


@pytest.mark.parametrize(
    ("config", "option", "device"),
    [
        ({"pcidevs": [{"bus": 1, "vfunc_mask": 4294967295}]}, "pci", {"address": "0000:01:00.*", "rdm_policy": "strict"}),
        ({"usbctrls": [{"devid": 0}]}, "usb_controllers", {"version": 2}),
        ({"usbdevs": [{"ctrl": 1, "port": 4}]}, "usb", {"controller": 1, "port": 4}),
        ({"vfbs": [{"vnc": {}, "sdl": {}}]}, "vfb", {"vnc": True, "listen": "127.0.0.1", "unused": True}),
        ({"vfbs": [{"vnc": {"enable": "False"}}]}, "vfb", {"vnc": False, "unused": False}),
        (
            {"p9s": [{"tag": "a", "type": "xen_9pfsd", "auto_delete": True}]},
            "p9",
            {"options": ["type=xen_9pfsd", "auto-delete=1"]},
        ),
    ],
    ids=["all functions", "a controller", "a lost USB address", "a display", "no display", "another server of files"],
)
def test_what_is_left_out_of_a_device_is_what_libxl_takes_for_it(config, option, device):
    """A list that is left out altogether is none that a task would have to manage."""
    [found] = to_options(guest_of_config(config))[option]
    assert {**found, **device} == found
    assert getattr(guest_of_config({}), option) is None


def test_a_domain_that_libxl_leaves_out_has_no_configuration():
    assert live_configs("[]").get(3) is None
    assert live_configs(recorded("pvh.list-l.txt")).get(99) is None


def test_the_guest_of_a_live_domain_is_input_again():
    """What guest_info shows, and what is written for a guest that had no file, has to be valid input."""
    [listed] = parse_json(recorded("hvm-pinned.list-l.txt"))
    guest = guest_of_config(listed["config"])
    assert guest.on_crash == "rename-restart"
    assert guest.disks[0].format is None
    assert guest.disks[0].target is None
    assert guest.nics[0].rate == "1250000B/s@50000us"
    assert guest.cpus == "0-1"
    again = xlcfg.read(xlcfg.render(guest))
    assert (again.disks, again.nics, again.cpus) == (guest.disks, guest.nics, guest.cpus)


def test_leaves():
    assert leaves({"a": {"b": 1, "c": []}, "d": [{"e": 2}, 3]}) == {"a.b": 1, "d[0].e": 2, "d[1]": 3}


def test_dying_domains_have_no_name_any_more():
    assert Domain(1, "(null)", "u", 0, 1, 0.0, "--p---").dying


@pytest.mark.parametrize(("kib", "mib"), [(262144, 256), (262145, 256), (263167, 256), (1, 1)])
def test_memory_that_is_no_whole_mib_is_that_much_at_least(kib, mib):
    """`xl mem-set` and libvirt know kibibytes; one such guest must not keep the others from being looked at."""
    assert guest_of_config({"b_info": {"target_memkb": kib}}).memory == mib * MIB


@pytest.mark.parametrize(
    "text", ['[{"domid": 3}]', "[3, null]", '[{"domid": "x", "config": {}}]', '[{"domid": 3, "config": []}]']
)
def test_an_entry_that_is_none_describes_no_domain(text):
    assert live_configs(text) == {}


def test_a_host_whose_memory_is_no_number_is_an_error():
    with pytest.raises(XenError) as failed:
        parse_info(recorded("info.txt").replace("free_memory", "free_memory            : lots\nold", 1))
    assert failed.value.code == "xl_output"
