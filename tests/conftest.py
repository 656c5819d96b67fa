# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of every test: hypothesis judges what a test asserts, not how fast a shared machine is."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("stubdom", deadline=None)
settings.load_profile("stubdom")
