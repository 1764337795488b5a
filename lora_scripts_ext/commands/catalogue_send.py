"""``python -m lora_scripts_ext catalogue send``: finished images to Akeneo, Shopify or WooCommerce."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import terminal
from ..integrations import akeneo, manifest, shopify, woocommerce
from ..integrations import outcome as outcomes
from ..integrations.journal import Journal
from ..integrations.outcome import Service
from ..integrations.settings import Settings
from . import exit_code

_SERVICES: dict[str, tuple[Callable[[Settings], Service], tuple[str, ...]]] = {
    "akeneo": (akeneo.Akeneo, akeneo.KEYS),
    "shopify": (shopify.Shopify, shopify.KEYS),
    "woocommerce": (woocommerce.WooCommerce, woocommerce.KEYS),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``catalogue send``; returns the exit code: 0 all are there, 1 some are not, 2 bad input, 130 stopped."""
    options = _parser().parse_args(arguments)
    return exit_code.of(
        lambda: _send(options.service, options.manifest, options.config, options.withdraw),
        stopped="stopped; run the same command again to go on.",
        folder=options.manifest.parent,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lora_scripts_ext catalogue send",
        description="Hand finished images to a shop's system. What is there already is not sent again.",
    )
    parser.add_argument("service", choices=list(_SERVICES))
    parser.add_argument("--manifest", type=terminal.path, required=True, help="manifest.json of an exported catalogue")
    parser.add_argument("--config", type=terminal.path, required=True, help="YAML file; see docs/integrations.md")
    parser.add_argument(
        "--withdraw",
        action="store_true",
        help="also take out of their products what was sent before and is not in the manifest any more",
    )
    return parser


def _send(name: str, path: Path, config: Path, withdraw: bool) -> int:
    make, keys = _SERVICES[name]
    settings = Settings.load(config, keys)
    service = make(settings)
    listed = manifest.read(path, settings.texts("channels"))
    with Journal(path, name, service.target) as journal:
        outcome = service.send(listed.images, journal, lambda done, total: terminal.count(done, total, "handled"))
        stale = journal.unlisted(listed.places)
        if withdraw:
            outcomes.withdraw(service, stale, journal, outcome)
    problems = [*listed.problems, *outcome.problems]
    for sentence in problems:
        terminal.print_message(f"not done: {sentence}")
    left = len(stale) - outcome.withdrawn
    if left and not withdraw:
        terminal.print_message(
            f"sent before, no longer in the manifest, and still there: {left}. Take them out of their products with "
            "--withdraw."
        )
    terminal.print_json({
        "service": name, "sent": outcome.sent, "unchanged": outcome.unchanged, "failed": len(problems),
        "withdrawn": outcome.withdrawn, "stale": left, "journal": str(journal.path),
    })  # fmt: skip
    return terminal.FAILED if problems else terminal.DONE
