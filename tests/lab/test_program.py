# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is laid into a simulated host: the collection's xenstore client has to come with all that it is made of."""

from __future__ import annotations

import re

import program

IMPORT = re.compile(r"^from ansible_collections\.stubdom\.xen\.(plugins\.module_utils\.\w+) import", re.M)


def test_the_client_comes_with_what_it_imports() -> None:
    texts = [(program.COLLECTION / path).read_text(encoding="utf-8") for path in program.CLIENT]
    wanted = {f"{name.replace('.', '/')}.py" for text in texts for name in IMPORT.findall(text)}
    assert wanted and wanted <= set(program.CLIENT)
