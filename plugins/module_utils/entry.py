# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Ansible and the engine meet: the real host in, a result or a failure out. The one place that ends a module."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any, Callable

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.host import XenHost
from ansible_collections.stubdom.xen.plugins.module_utils.masking import secrets_in


def _unforeseen(error: Exception) -> XenError:
    """What should not happen, with the place where it did. Locals are not told: they may hold secrets."""
    said = printable(f"{type(error).__name__}: {error}", 1000)
    hint = "a mistake of the collection: report it with this evidence; run again, it starts from what is there"
    return XenError("unforeseen", said, {"at": list(_places(error))}, hint)


def _places(error: Exception) -> Iterator[str]:
    """The calls that led to an exception, outermost first: file, line and function. No import for what is so rare."""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        yield f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}"
        trace = trace.tb_next


def _hide(module: Any) -> None:
    """Has Ansible mask the secrets of `extra_config` in all that the module tells: no specification can name its keys.

    Ansible has logged the task's options by then: modules that take extra_config are made with no_log=True, which is about
    the host's log alone.
    """
    for options in (module.params, *(module.params.get("guests") or ())):
        module.no_log_values.update(filter(None, secrets_in(options.get("extra_config"))))


def answer(module: Any, work: Callable[[XenHost], Coroutine[Any, Any, dict[str, Any]]]) -> None:
    """Runs ``work`` on this host and ends the module with what it returns, or with the XenError that it raised."""
    _hide(module)
    host = XenHost(module)
    try:
        outcome = host.finish(work(host))
    except XenError as error:
        module.fail_json(**error.as_result())
    except Exception as error:  # a result that playbooks can read, not a traceback in its place
        module.fail_json(**_unforeseen(error).as_result())
    finally:
        host.close()
    if outcome.get("failed"):
        module.fail_json(**outcome)
    module.exit_json(**outcome)
