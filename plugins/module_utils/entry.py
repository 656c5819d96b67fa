# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Ansible and the engine meet: the real host in, a result or a failure out. The one place that ends a module."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Callable

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.host import XenHost


def answer(module: Any, work: Callable[[XenHost], Coroutine[Any, Any, dict[str, Any]]]) -> None:
    """Runs ``work`` on this host and ends the module with what it returns, or with the XenError that it raised."""
    host = XenHost(module)
    try:
        outcome = host.finish(work(host))
    except XenError as error:
        module.fail_json(**error.as_result())
    finally:
        host.close()
    if outcome.get("failed"):
        module.fail_json(**outcome)
    module.exit_json(**outcome)
