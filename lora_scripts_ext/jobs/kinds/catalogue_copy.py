"""Copy for the products of a catalogue that have none: a title and selling points."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ...catalogue.store import Catalogue
from ...library.job import Job
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .kind import Kind, Plan, absolute, folder_name, stop_check
from .options import option, read


@dataclass(frozen=True)
class CopyOptions:
    """The keys of writing copy."""

    catalogue: str = option("", "Folder of the catalogue.")
    endpoint: str = option("", "URL of an OpenAI-compatible service; texts of products are sent there only.")
    model: str = option("", "Model as the service calls it; empty takes its default.")
    key_from: str = option("", "Environment variable that holds the key of the service.")
    language: Literal["en", "zh"] = option("en", "Language of the copy.")
    products: list[int] = option([], "Ids of the products that get copy; empty for all.")


class WriteCopy(Kind):
    """``config`` has the keys of :class:`CopyOptions`."""

    name = "catalogue_copy"
    lane = "files"

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config; nothing is sent yet."""
        options = asdict(read(CopyOptions, config, where, required=("catalogue", "endpoint")))
        options["catalogue"] = absolute(options["catalogue"], environment)
        options["endpoint"] = environment.endpoint(options["endpoint"], options["key_from"])
        catalogue = Catalogue.open(Path(options["catalogue"]))
        try:
            words = catalogue.settings().words
            name = catalogue.settings().name or folder_name(options["catalogue"])
        finally:
            catalogue.close()
        absolute(words, environment)
        return Plan(f"Write copy for {name}", options)

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Write; each product's copy is kept as soon as it is there."""
        from ...catalogue import copies
        from ...products.copywriting import Copywriter

        options = read(CopyOptions, job.config, job.name)
        writer = Copywriter(options.endpoint, options.model, options.key_from, options.language)
        catalogue = Catalogue.open(Path(options.catalogue))
        try:
            done = copies.write(
                catalogue,
                writer,
                options.language,
                products=options.products or None,
                progress=execution.progress,
                check=lambda: stop_check(execution),
            )
        finally:
            catalogue.close()
        return Outcome("done", "", done.to_dict())
