# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""xenstore as any domain, with that domain's rights: xenstore-as DOMID write|read|ls|rm|chmod PATH [VALUE].

chmod's VALUE is as of xenstore-chmod, in one word: "n3 r0".
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from stores import Store, connect

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError


def read(store: Store, path: str) -> None:
    value = store.read(path)
    if value is None:
        sys.exit(f"no such node: {path}")
    print(value)


VERBS = {
    ("write", 2): lambda store, path, value: store.write(path, value),
    ("read", 1): read,
    ("ls", 1): lambda store, path: print("\n".join(store.ls(path) or [])),
    ("rm", 1): lambda store, path: store.rm(path),
    ("chmod", 2): lambda store, path, perms: store.chmod(path, [(word[0], int(word[1:])) for word in perms.split()]),
}


def main() -> None:
    domid, verb, *arguments = [*sys.argv[1:], "", ""][: max(2, len(sys.argv) - 1)]
    act = VERBS.get((verb, len(arguments)))
    if not (domid.isdigit() and act):
        sys.exit(f"usage: {(__doc__ or '').splitlines()[0]}")
    try:
        with connect(int(domid), timeout=10) as store:
            act(store, *arguments)
    except XenError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
