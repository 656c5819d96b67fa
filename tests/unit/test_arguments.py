# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options in the documentation, in the argument spec and in the guest's classes are the same ones."""

from __future__ import annotations

import ast
import importlib.util
import json
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from ansible_collections.stubdom.xen.plugins.module_utils import arguments, spec
from ansible_collections.stubdom.xen.plugins.module_utils.fields import BY_OPTION
from ansible_collections.stubdom.xen.plugins.module_utils.masking import is_secret
from ansible_collections.stubdom.xen.plugins.module_utils.policy import Policy, policy_of

MODULES = Path(__file__).resolve().parents[2] / "plugins" / "modules"
FRAGMENTS = MODULES.parent / "doc_fragments"


def documented(module):
    """The options as ansible-doc has them: the module's own, and those of the fragment of a guest."""
    tree = ast.parse((MODULES / f"{module}.py").read_text(encoding="utf-8"))
    texts = {n.targets[0].id: n.value for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)}
    own = yaml.safe_load(ast.literal_eval(texts["DOCUMENTATION"]))
    [name] = [name for name in own["extends_documentation_fragment"] if name.startswith("stubdom.xen.guest")]
    shared = getattr(fragment(), name.removeprefix("stubdom.xen.guest").lstrip(".").upper() or "DOCUMENTATION")
    return {**yaml.safe_load(shared)["options"], **own.get("options", {})}


def fragment():
    found = importlib.util.spec_from_file_location("guest_fragment", FRAGMENTS / "guest.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.ModuleDocFragment


def shape(options, more):
    """What the documentation and the argument spec must say alike of each option; `more` is the key of the nested ones."""
    return {
        name: {
            "type": option.get("type", "str"),
            "elements": option.get("elements"),
            "choices": option.get("choices"),
            "default": option.get("default"),
            "required": bool(option.get("required")),
            "options": shape(option.get(more) or {}, more),
        }
        for name, option in options.items()
    }


def test_the_documentation_of_guest_is_its_argument_spec():
    assert shape(documented("guest"), "suboptions") == shape({**arguments.GUEST, **arguments.POLICY}, "options")


def test_the_documentation_of_guests_is_its_argument_spec():
    assert shape(documented("guests"), "suboptions") == shape(arguments.GUESTS, "options")


def plain(options):
    """The texts of options, whatever they call options beside them."""
    return json.loads(json.dumps(options).replace("guests[].", ""))


def test_guests_documents_a_guest_as_guest_does():
    """Its references begin at the item, and nothing else is different."""
    assert plain(documented("guests")["guests"]["suboptions"]) == documented("guest")


@pytest.mark.parametrize(
    ("options", "cls"),
    [
        (arguments.GUEST, spec.Guest),
        (arguments.GUEST["device_model"]["options"], spec.DeviceModel), (arguments.GUEST["stubdom"]["options"], spec.Stubdom),
        (arguments.GUEST["vnc"]["options"], spec.Vnc),
        *((arguments.GUEST[name]["options"], cls) for name, cls in spec.LISTED.items()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_every_option_has_its_field_and_every_field_its_option(options, cls):
    of_the_domain = {"kind", "version", "memory"} if cls is spec.Vtpm else set()  # of the TPM's domain, a guest of its own
    assert set(options) == {field.name for field in fields(cls)} | of_the_domain


def test_no_managed_field_has_a_default():
    """What is not given is not managed."""
    assert [name for name, option in arguments.GUEST.items() if "default" in option] == []
    assert spec.to_options(spec.Guest()) == {}


def test_the_defaults_of_the_policy_are_the_engines():
    said = {name: option.get("default") for name, option in arguments.POLICY.items()}
    for group in ("ready", "shutdown"):
        said[group] = {name: option.get("default") for name, option in arguments.POLICY[group]["options"].items()}
    assert policy_of(said) == Policy()


def test_every_row_of_the_table_is_an_option():
    for option in BY_OPTION:
        spec.lookup(spec.Guest(), option)


def test_secrets_are_marked_for_ansible_too():
    assert [row.option for row in BY_OPTION.values() if row.secret] == ["vnc.password"]
    groups = {name: option["options"] for name, option in arguments.GUEST.items() if "options" in option}
    secret = {(name, key) for name, options in groups.items() for key in options if is_secret(key)}
    assert secret == {("vnc", "password"), ("vfb", "password")}
    assert secret == {(name, key) for name, options in groups.items() for key in options if options[key].get("no_log")}


def test_a_list_without_an_identity_goes_by_place():
    """What every item of a list with an identity has to have, but for a MAC, which is made up where none is given."""
    assert set(spec.LISTED) - set(spec.IDENTITY) == {"usb_controllers", "vfb", "vtpm"}
    for name, attributes in spec.IDENTITY.items():
        required = {key for key, option in arguments.GUEST[name]["options"].items() if option.get("required")}
        assert set(attributes) <= required | {"mac"}
