# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From options to the guest and back; sizes; and one description laid over another."""

from __future__ import annotations

import pytest
from generated import guests, options_of_guests
from hypothesis import given

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.spec import (
    IDENTITY,
    LISTED,
    MIB,
    Disk,
    Guest,
    Nic,
    Vfb,
    format_size,
    from_options,
    overlay,
    parse_size,
    pci_address,
    to_options,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MiB", 512 * MIB), ("2GiB", 2048 * MIB), ("1 TiB", 1 << 40), ("1048576", MIB), (1048576, MIB), ("1048576B", MIB),
        ("1024KiB", MIB), ("512mib", 512 * MIB), (None, None),
    ],
)  # fmt: skip
def test_sizes(text, size):
    assert parse_size(text, "memory") == size


@pytest.mark.parametrize("text", ["512", 512, "512M", "512MB", "-1MiB", "1.5GiB", "", "lots", "1025KiB", "0", "0MiB", [], True])
def test_sizes_that_are_none(text):
    with pytest.raises(XenError) as refused:
        parse_size(text, "max_memory")
    assert refused.value.code == "invalid_input"
    assert refused.value.evidence == {"option": "max_memory", "value": text}
    assert "max_memory" in refused.value.msg


@pytest.mark.parametrize(("size", "text"), [(MIB, "1MiB"), (1024 * MIB, "1GiB"), (1536 * MIB, "1536MiB"), (5, "5")])
def test_sizes_are_told_in_the_largest_unit_that_is_exact(size, text):
    assert format_size(size) == text


@given(guests())
def test_a_guest_told_as_options_is_the_same_guest(guest):
    assert from_options(to_options(guest)) == guest


@given(options_of_guests())
def test_what_is_not_given_is_not_described(options):
    assert set(to_options(from_options(options))) <= set(options)


@given(guests(), guests())
def test_laid_over_itself_or_by_nothing_a_guest_stays_the_same(base, given):
    assert overlay(base, Guest()) == base
    assert overlay(base, base) == base
    assert overlay(overlay(base, given), given) == overlay(base, given)


def test_an_option_given_replaces_an_item_of_a_group_and_a_list_replaces_the_list():
    base = from_options({"vnc": {"enabled": True, "display": 1}, "disks": [{"vdev": "xvda"}], "extra_config": {"a": 1, "b": 2}})
    over = from_options({"vnc": {"display": 2}, "disks": [{"vdev": "xvdb"}], "extra_config": {"b": None, "c": 3}})
    result = overlay(base, over)
    assert (result.vnc.enabled, result.vnc.display) == (True, 2)
    assert result.disks == (Disk(vdev="xvdb"),)
    assert result.extra_config == {"a": 1, "c": 3}


@pytest.mark.parametrize(
    ("base", "given", "result"),
    [
        (["aa", "bb"], [None, None], ["aa", "bb"]),
        (["aa"], [None, None], ["aa", None]),
        (["aa", "bb"], [None], ["aa"]),
        (["aa"], [None, "aa"], [None, "aa"]),
        (["aa", "bb"], ["bb", None], ["bb", None]),
        (["aa", "bb"], ["cc", None], ["cc", "bb"]),
        (None, [None], [None]),
    ],
)
def test_a_nic_keeps_the_mac_of_its_place_unless_another_took_it(base, given, result):
    def nics(macs):
        return None if macs is None else tuple(Nic(mac=mac and f"00:16:3e:00:00:{mac}") for mac in macs)

    assert overlay(Guest(nics=nics(base)), Guest(nics=nics(given))).nics == nics(result)


def test_macs_are_compared_in_one_spelling():
    assert from_options({"nics": [{"mac": "00:16:3E:AA:BB:CC"}]}).nics == (Nic(mac="00:16:3e:aa:bb:cc"),)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0000:01:00.0", "0000:01:00.0"), ("01:00.0", "0000:01:00.0"), ("1:1F.7", "0000:01:1f.7"), ("a:B:1.*", "000a:0b:01.*"),
        ("01:20.0", "01:20.0"), ("01:00.8", "01:00.8"), ("01:00", "01:00"), ("10000:01:00.0", "10000:01:00.0"), ("nic", "nic"),
    ],
)  # fmt: skip
def test_a_pci_address_has_one_spelling_and_what_is_none_stays_as_it_is(text, address):
    assert pci_address(text) == address
    assert from_options({"pci": [{"address": text}]}).pci[0].address == address


def test_every_identity_is_one_of_the_items_attributes():
    for option, names in IDENTITY.items():
        assert set(names) <= set(LISTED[option].__dataclass_fields__)


def test_a_frame_buffers_password_is_not_in_its_representation():
    assert "gehei-m" not in repr(Guest(vfb=(Vfb(password="gehei-m"),)))
