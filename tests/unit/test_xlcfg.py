# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""xl.cfg: what its grammar takes and refuses (asked of xl 4.17 where it is told), and that what is written is read back."""

from __future__ import annotations

import pytest
from generated import ANYTHING, EXTRA, guests
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.module_utils import cfgtext, devices, xlcfg
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.fields import BY_OPTION, number
from ansible_collections.stubdom.xen.plugins.module_utils.spec import (
    LISTED,
    P9,
    Channel,
    Disk,
    Guest,
    Nic,
    Pci,
    Usb,
    UsbController,
    Vfb,
    Vtpm,
)

TAKEN = {
    "plain": ("a = 1\n", {"a": "1"}),
    "no newline at the end": ("a = 1", {"a": "1"}),
    "both quotes": ("a = \"x\"; b = 'y'\n", {"a": "x", "b": "y"}),
    "the other quote inside": ('a = "it\'s"\n', {"a": "it's"}),
    "escapes": (r'a = "q\" b\\ n\n t\t e\'"' + "\n", {"a": "q\" b\\ n\n t\t e'"}),
    "a comment": ("a = 1 # b = 2\n# c = 3\n", {"a": "1"}),
    "a hash in a string": ('a = "# no comment"\n', {"a": "# no comment"}),
    "hex and octal": ("a = 0x10; b = 010\n", {"a": "0x10", "b": "010"}),
    "a list": ('a = [ "x", 1, ]\n', {"a": ["x", "1"]}),
    "a list over lines": ('a = [\n "x",\n # why\n "y"\n]\n', {"a": ["x", "y"]}),
    "an empty list": ("a = []\n", {"a": []}),
    "a list in a list": ('a = [ [ "x" ], [ ] ]\n', {"a": [["x"], []]}),
    "the last one wins": ("a = 1\na = 2\n", {"a": "2"}),
    "strings added": ('a = "x"\na += "y"\n', {"a": "xy"}),
    "lists added": ('a = ["x"]\na += ["y"]\n', {"a": ["x", "y"]}),
    "added to nothing": ('a += "x"\n', {"a": "x"}),
    "dots and underscores in a key": ("a.b_c9 = 1\n", {"a.b_c9": "1"}),
    "empty lines and blanks": ("\n\n  a\t=  1  \n;;\n", {"a": "1"}),
    "other alphabets": ('a = "é✓"\n', {"a": "é✓"}),
    "nothing": ("", {}),
}
REFUSED = {
    "an open string": 'name = "x\n',
    "an open list": 'a = ["x"\n',
    "a carriage return": 'a = "x"\r\n',
    "a comment without an end": "a = 1\n# why",
    "a negative number": "a = -1\n",
    "a number escaped in hex": 'a = "\\x41"\n',
    "an unknown escape": 'a = "\\q"\n',
    "two strings in a row": "a = 'it''s'\n",
    "no value": "a =\n",
    "no key": "= 1\n",
    "a capital in a key": "A = 1\n",
    "two settings on a line": "a = 1 b = 2\n",
    "a comma alone": "a = [ , ]\n",
    "Python": "import os\n",
    "a string added to a list": 'a = ["x"]\na += "y"\n',
    "a list added to a string": 'a = "x"\na += ["y"]\n',
    "a number added to a number": "a = 1\na += 2\n",
    "lists in lists without an end": f"a = {'[' * 5000}{']' * 5000}\n",
}
UNREADABLE = {
    "a number that is none": 'memory = "64x"\n',
    "a number of Python's": 'vcpus = "0b1"\n',
    "a number with a line in it": 'memory = "5_12"\n',
    "no octal number": "vcpus = 08\n",
    "no hex number": "vcpus = 0x\n",
    "a list where one value belongs": 'kernel = ["a", "b"]\n',
    "one value where a list belongs": 'disk = "vdev=xvda,target=/a"\n',
    "a list in the list": 'vif = [ ["bridge=b"] ]\n',
    "half a size": "memory = 0\n",
}


UUID = "ac0a5b9e-cbe2-4c07-b43b-1d69e46fb839"
NUMBERS = {
    "vslot", "permissive", "msitranslate", "power_mgmt", "seize", "version", "ports", "host_bus", "host_address", "controller",
    "port", "vnc", "display", "unused",
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_the_grammar_takes(name):
    text, values = TAKEN[name]
    assert cfgtext.parse(text) == values


@pytest.mark.parametrize("name", REFUSED)
def test_the_grammar_refuses(name):
    with pytest.raises(XenError) as refused:
        cfgtext.parse(REFUSED[name])
    assert refused.value.code == "cfg_syntax"
    assert refused.value.evidence["line"] in (1, 2)


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_whose_values_xl_would_only_warn_about_is_not_half_read(name):
    """xl ignores such a setting with a warning: what the file's author wanted is not what xl makes of it."""
    with pytest.raises(XenError):
        xlcfg.read('name = "x"\n' + UNREADABLE[name])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16", 16),
        ("0x10", 16),
        ("0XfF", 255),
        ("010", 8),
        ("0", 0),
        ("00", 0),
        ("-1", -1),
        (" \t+7", 7),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_numbers_are_read_as_strtol_does(text, value):
    assert number(text) == value


@pytest.mark.parametrize(
    "text",
    ["", " ", "5_12", "0b1", "0o17", "08", "0x", "0x_1", "1 ", "1\n", "1.5", "--1", "ten", "\u0664\u0662", "1\0", str(2**63)],
)
def test_what_strtol_does_not_read_to_its_end_is_no_number(text):
    """Python's int() would take some of these: xl warns of them, and makes a guest without what they say."""
    with pytest.raises(ValueError):
        number(text)


@given(guests())
def test_what_is_written_is_read_back(guest):
    assert xlcfg.read(xlcfg.render(guest)) == guest


@given(st.dictionaries(st.from_regex(r"[a-z][._0-9a-z]{0,5}", fullmatch=True), EXTRA, max_size=4))
def test_values_written_are_the_values_parsed(values):
    text = "".join(f"{key} = {cfgtext.quote(value, key)}\n" for key, value in values.items())

    def spelled(value):
        return [spelled(item) for item in value] if isinstance(value, list) else str(value)

    assert cfgtext.parse(text) == {key: spelled(value) for key, value in values.items()}


@given(ANYTHING)
def test_any_text_is_refused_or_comes_back(text):
    """As a plain value, in each part of a disk and of a NIC, and as an option of them; and it can be put into a file."""
    disks = [Disk("xvda", target=text or None), Disk("xvda", script=text), Disk("xvda", options=(text,))]
    guests = [Guest(cmdline=text), Guest(extra_config={"acpi": text}), Guest(nics=(Nic(bridge=text),)),
              Guest(nics=(Nic(options=(text,)),)), *(Guest(disks=(disk,)) for disk in disks)]  # fmt: skip
    for guest in guests:
        try:
            written = xlcfg.render(guest)
        except XenError as refused:
            assert refused.code == "invalid_input"
            continue
        written.encode("utf-8", "surrogateescape")
        assert xlcfg.read(written) == guest


@pytest.mark.parametrize(
    ("text", "disk"),
    [
        ("/dev/vg0/a,raw,xvda,rw", Disk(target="/dev/vg0/a", format="raw", vdev="xvda", access="rw")),
        ("phy:/dev/vg0/a,xvda,w", Disk(target="/dev/vg0/a", vdev="xvda", access="rw")),
        ("file:/a.img,hda,r", Disk(target="/a.img", vdev="hda", access="ro")),
        ("qcow2:/a,xvda,w", Disk(target="/a", format="qcow2", vdev="xvda", access="rw")),
        ("/a.iso,,hdc:cdrom,r", Disk(target="/a.iso", vdev="hdc", devtype="cdrom", access="ro")),
        ("vdev=hdc,access=ro,devtype=cdrom", Disk(vdev="hdc", access="ro", devtype="cdrom")),
        ("cdrom,vdev=hdc", Disk(vdev="hdc", devtype="cdrom")),
        ("vdev=xvda,discard,target=/a,b c ", Disk(vdev="xvda", options=("discard",), target="/a,b c ")),
        (" vdev=xvda , access=rw , target=/a", Disk(vdev="xvda", access="rw", target="/a")),
        ("/a,,xvda", Disk(target="/a", vdev="xvda")),
    ],
)
def test_every_spelling_of_a_disk(text, disk):
    assert xlcfg.read(f'disk = ["{text}"]\n').disks == (disk,)


@pytest.mark.parametrize(
    ("text", "nic"),
    [
        ("", Nic()),
        ("bridge=b0", Nic(bridge="b0")),
        ("mac=00:16:3E:00:00:01, bridge=b0", Nic(mac="00:16:3e:00:00:01", bridge="b0")),
        ("type=ioemu,trusted=0,rate=1Mb/s", Nic(type="ioemu", options=("trusted=0",), rate="1Mb/s")),
    ],
)
def test_every_spelling_of_a_nic(text, nic):
    assert xlcfg.read(f'vif = ["{text}"]\n').nics == (nic,)


SPELLINGS = {
    "pci": [
        ("01:00.0", Pci("0000:01:00.0")),
        ("0000:01:00.0@8,permissive=1", Pci("0000:01:00.0", vslot=8, permissive=True)),
        ("1:1F.7@1f , seize=0", Pci("0000:01:1f.7", vslot=31, seize=False)),
        ("bdf=A:0:1.*,vslot=a", Pci("000a:00:01.*", vslot=10)),
        ("02:00.0,rdm_policy=relaxed,msitranslate=1,power_mgmt=2", Pci("0000:02:00.0", None, None, True, True, None, "relaxed")),
        ("name=nic", Pci(options=("name=nic",))),
    ],
    "usb_controllers": [("", UsbController()), ("type=devicemodel, version=3,ports=015", UsbController("devicemodel", 3, 15))],
    "usb": [
        ("hostbus=1,hostaddr=0x10", Usb(1, 16)),
        ("type=hostdev,hostbus=010,hostaddr=3,controller=010,port=2", Usb(8, 3, 10, 2)),
    ],
    "vfb": [
        ("", Vfb()),
        ("vnc=1,vnclisten=::,vncdisplay=3,vncunused=0", Vfb(True, "::", 3, False)),
        ("  vncpasswd= a=b ,keymap=de,sdl=1,display=:0", Vfb(password=" a=b ", keymap="de", options=("sdl=1", "display=:0"))),
    ],
    "channels": [
        (" name = org.x , connection=pty", Channel("org.x", "pty")),
        ("connection=socket,path=/run/a b,backend=dd,name=x", Channel("x", "socket", "/run/a b", "dd")),
    ],
    "p9": [
        ("tag=t,path=/srv,security_model=none", P9("t", "/srv", "none")),
        ("tag=t,type=xen_9pfsd,max-files=5", P9("t", options=("type=xen_9pfsd", "max-files=5"))),
    ],
    "vtpm": [("backend=tpm", Vtpm("tpm")), ("uuid=AC0A5B9E-CBE2-4C07-B43B-1D69E46FB839", Vtpm(None, UUID))],
}


@pytest.mark.parametrize(("option", "text", "device"), [(name, *row) for name, rows in SPELLINGS.items() for row in rows])
def test_every_spelling_of_a_device(option, text, device):
    assert getattr(xlcfg.read(f'{BY_OPTION[option].key} = ["{text}"]\n'), option) == (device,)


WRONG = {
    "pci": ["1:0", "01:00.0,seize", "01:00.0@x", "01:00.0,vslot=g", "01:00.0,vslot=1_f", "01:00.0,permissive=yes"],
    "usb_controllers": ["version=two", "backend=dd", "ports"],
    "usb": ["hostbus=a", "hostbus=0b1", "hostaddr=1_2", "type=pcidev", "hostbus=1;hostaddr=2"],
    "vfb": ["vnc", "vnc=yes", "vncdisplay=:1"],
    "channels": ["name", "mame=x"],
    "p9": ["tag"],
    "vtpm": ["backend", "type=x"],
}


@pytest.mark.parametrize(("option", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_a_device_that_xl_would_half_read_is_not_read(option, text):
    key = BY_OPTION[option].key
    with pytest.raises(XenError) as refused:
        xlcfg.read(f'{key} = ["{text}"]\n')
    assert (refused.value.code, refused.value.evidence["key"]) == ("cfg_syntax", key)


@pytest.mark.parametrize("text", ['["vncpasswd=one,two"]', '"vncpasswd=two"', "[1]"])
def test_a_password_that_cannot_be_read_is_not_told(text):
    with pytest.raises(XenError) as refused:
        xlcfg.read(f"vfb = {text}\n")
    assert "two" not in f"{refused.value.msg} {refused.value.evidence}"


@pytest.mark.parametrize(
    "line",
    [
        'vncpasswd "one two"',
        'vncpasswd = "one two',
        "vncpasswd = 'one\ttwo\\x'",
        'vfb = ["vnc=1" "vncpasswd=two"]',
        'spicepasswd = two"',
    ],
)
def test_a_line_with_a_password_that_cannot_be_read_is_not_told(line):
    with pytest.raises(XenError) as refused:
        cfgtext.parse(f"memory = 64\n{line}\n")
    assert refused.value.evidence["line"] in (2, 3)
    assert "two" not in f"{refused.value.msg} {refused.value.evidence}"


@pytest.mark.parametrize(
    ("guest", "option"),
    [
        (Guest(vfb=(Vfb(password="a,b"),)), "vfb[0].password"),
        (Guest(vfb=(Vfb(), Vfb(listen=""))), "vfb[1].listen"),
        (Guest(vfb=(Vfb(options=("sdl",)),)), "vfb[0].options"),
        (Guest(vfb=(Vfb(options=("vnc=1",)),)), "vfb[0].options"),
        (Guest(vfb=(Vfb(options=("sdl=1,opengl=1",)),)), "vfb[0].options"),
        (Guest(pci=(Pci("01:00.0", options=("bdf=02:00.0",)),)), "pci[0].options"),
        (Guest(channels=(Channel("a=b", "pty"),)), "channels[0].name"),
        (Guest(channels=(Channel("a", "socket", " /x"),)), "channels[0].path"),
        (Guest(p9=(P9("t", "/a,b", "none"),)), "p9[0].path"),
        (Guest(p9=(P9("t", "/a\nb", "none"),)), "p9[0].path"),
        (Guest(vtpm=(Vtpm("a,uuid=b"),)), "vtpm[0].backend"),
    ],
)
def test_what_a_device_cannot_say_is_refused(guest, option):
    with pytest.raises(XenError) as refused:
        xlcfg.render(guest)
    assert (refused.value.code, refused.value.evidence["option"]) == ("invalid_input", option)
    assert "a,b" not in f"{refused.value.msg} {refused.value.evidence}" or "password" not in option


def test_a_pci_address_is_written_as_every_xl_reads_it():
    """Up to Xen 4.14 there is no key for it."""
    assert devices.text_of("pci", Pci("0000:01:00.0", vslot=31, seize=True), "pci[0]") == "0000:01:00.0@1f,seize=1"


@given(st.sampled_from(sorted(set(LISTED) - {"disks", "nics", "usb"})), st.data())
def test_any_text_in_a_device_is_refused_or_comes_back(option, data):
    cls = LISTED[option]
    texts = [name for name in cls.__dataclass_fields__ if name not in NUMBERS]
    name = data.draw(st.sampled_from(texts))
    text = data.draw(ANYTHING)
    guest = Guest(**{option: (cls(**{name: (text,) if name == "options" else text}),)})
    try:
        written = xlcfg.render(guest)
    except XenError as refused:
        assert refused.code == "invalid_input"
        return
    read = xlcfg.read(written)
    assert read == guest or (name in ("address", "uuid") and xlcfg.render(read).lower() == written.lower())


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('type = "pvh"', "pvh"), ('builder = "hvm"', "hvm"), ('builder = "generic"', "pv"), ("memory = 64", None),
        ('device_model_stubdomain_override = 1\ndevice_model_version = "qemu-xen"', "linux"),
        ("device_model_stubdomain_override = 1", "minios"), ("device_model_stubdomain_override = 0", "none"),
    ],
)  # fmt: skip
def test_what_older_and_shorter_files_mean(text, kind):
    guest = xlcfg.read(text + "\n")
    assert kind in (guest.type, guest.stubdom.type)


def test_a_file_written_is_marked_and_says_what_happens_to_it():
    assert xlcfg.render(Guest(name="x")).startswith(xlcfg.MARK)


def test_vcpus_pinned_one_by_one_stay_so():
    """`cpus` as a list pins each vcpu by itself; it has no option of its own, and must not become a strange text."""
    text = 'name = "x"\nvcpus = 2\ncpus = ["0", "2-3"]\n'
    assert cfgtext.parse(xlcfg.render(xlcfg.read(text)))["cpus"] == ["0", "2-3"]


def test_several_serial_ports_stay_so():
    text = 'name = "x"\nserial = ["pty", "/dev/ttyS0"]\n'
    assert cfgtext.parse(xlcfg.render(xlcfg.read(text)))["serial"] == ["pty", "/dev/ttyS0"]


@pytest.mark.parametrize("value", ['"yes"', '["1"]', '"1a"'])
def test_a_stubdomain_override_that_is_no_number_is_an_error(value):
    with pytest.raises(XenError) as refused:
        xlcfg.read(f'name = "x"\ndevice_model_stubdomain_override = {value}\n')
    assert refused.value.code == "cfg_syntax"


def test_a_number_longer_than_python_reads_stays_text():
    assert xlcfg.read(f"name = 'x'\nlong = {'9' * 5000}\n").extra_config["long"] == "9" * 5000
