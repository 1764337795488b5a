"""LoRAs that are there already, listed in the library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ...errors import UserError
from ...library.database import Database
from ...library.job import Job
from ...library.models import Models, checked_tags
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .kind import Kind, Plan, absolute, folder_name, stop_check
from .options import option, read

LoraKind = Literal["", "brand_style", "season", "scene", "product", "character", "car"]


@dataclass(frozen=True)
class ImportOptions:
    """The keys of an import."""

    folder: str = option("", "Folder with LoRA files; empty takes that where the WebUI lists LoRAs.")
    kind: LoraKind = option("", "Kind of the models; empty takes what a sub-folder's name says, else brand_style.")
    tags: list[str] = option([], "Tags of the models, beside the names of sub-folders.")


class ImportLoras(Kind):
    """``config`` has the keys of :class:`ImportOptions`."""

    name = "import"
    lane = "files"

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config."""
        options = asdict(read(ImportOptions, config, where))
        options["tags"] = checked_tags(options["tags"])
        folder = environment.lora_dir()
        if options["folder"]:
            folder = environment.readable(options["folder"])
        if folder is None:
            raise UserError(f"{where}: folder is missing; name the one that your LoRA files are in.")
        if not folder.is_dir():
            raise UserError(f"{where}: there is no folder {folder}; check the path.")
        options["folder"] = str(folder.absolute())
        return Plan(f"Import {folder_name(options['folder'])}", options)

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Record what is not recorded yet."""
        from ..importing import import_folder

        options = read(ImportOptions, job.config, job.name)
        database = Database(environment.data_dir)
        try:
            imported = import_folder(
                Models(database),
                Path(options.folder),
                kind=options.kind,
                tags=options.tags,
                readable=lambda path: _may_be_read(path, environment),
                progress=execution.progress,
                check=lambda: stop_check(execution),
            )
        finally:
            database.close()
        return Outcome("done", "", asdict(imported))


def _may_be_read(path: Path, environment: Environment) -> bool:
    try:
        return bool(absolute(str(path), environment))
    except UserError:
        return False
