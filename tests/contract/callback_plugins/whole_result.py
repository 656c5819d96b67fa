# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stdout callback of these tests: a task's whole result as one JSON object, the diff included."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "whole_result"

    def _show(self, word: str, result: Any) -> None:
        print(json.dumps({"outcome": word, **result._result}, default=str), flush=True)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._show("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._show("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._show("unreachable", result)
