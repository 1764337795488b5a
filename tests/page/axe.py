"""What axe-core says of a page: whether everyone can use it, by WCAG 2 and its own good practice."""

from __future__ import annotations

from typing import Any

from . import packages

_GRAVE = ("serious", "critical")
_RUN = """() => axe.run(document, {resultTypes: ["violations"]}).then((found) => found.violations.map(
    ({id, impact, help, nodes}) => ({id, impact, help, nodes: nodes.map(({target, html, failureSummary}) => (
        {target: target.join(" "), html, failureSummary}))})))"""


def serious(page: Any) -> list[str]:
    """The violations of Playwright's ``page`` that axe-core calls serious or critical, each as a sentence with where.

    The page's content security policy may forbid scripts: axe is run by the debugger, outside of it.

    Raises:
        Unreachable: axe-core is not here and cannot be fetched.
    """
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate((packages.folder() / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    # What fades in has not its own colours yet.
    page.evaluate("() => Promise.all(document.getAnimations().map((one) => one.finished.catch(() => {})))")
    return [
        f"{one['id']} ({one['impact']}): {one['help']}, at {node['target']}: {node['html'][:160]}"
        f" - {' '.join(node['failureSummary'].split())[:300]}"
        for one in page.evaluate(_RUN)
        if one["impact"] in _GRAVE
        for node in one["nodes"]
    ]
