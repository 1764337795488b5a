"""Warnings about a config before its run: how it was read, and what in it will not work well."""

from __future__ import annotations

from .. import config_optimizer
from ..config import Config
from . import schedule


def of(config: Config, total_steps: int) -> list[str]:
    """One sentence each."""
    return [*config.notes, *config_optimizer.warnings(config), *schedule.warnings(config, total_steps)]
