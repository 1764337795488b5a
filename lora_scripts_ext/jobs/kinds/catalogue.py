"""The images of a catalogue: drawing those that wait, and handing over those that are approved."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...catalogue.settings import PATHS, Settings
from ...catalogue.store import Catalogue
from ...channels import channel as channels
from ...errors import Interrupted, UserError
from ...library.job import Job
from ...marks.c2pa import Credentials
from .. import catalogue_host, service_file
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .kind import Kind, Plan, Stopped, absolute, folder_name, stop_check
from .options import option, read

#: folder of the finished images in that of a catalogue
FINISHED = "finished"


@dataclass(frozen=True)
class CatalogueOptions:
    """The keys of drawing a catalogue's images."""

    catalogue: str = option("", "Folder of the catalogue.")
    base_model: str = option("", "Checkpoint or diffusers folder; empty takes the catalogue's.")


class DrawCatalogue(Kind):
    """``config`` has the keys of :class:`CatalogueOptions`."""

    name = "catalogue"
    lane = "device"

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config."""
        options = asdict(read(CatalogueOptions, config, where, required=("catalogue",)))
        options["catalogue"] = absolute(options["catalogue"], environment)
        settings = _settings(options["catalogue"], environment)
        options["base_model"] = catalogue_host.base_model(environment, settings, options["base_model"])
        if settings.webui:
            environment.endpoint(settings.webui, settings.webui_login)
        elif not options["base_model"]:
            raise UserError(f"{where}: base_model is missing; name a checkpoint, or choose one in the catalogue.")
        return Plan(f"Draw {settings.name or folder_name(options['catalogue'])}", options)

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Draw what waits; each image is kept as soon as it is there."""
        from ...catalogue.generate import generate
        from ..library_loras import loras

        options = read(CatalogueOptions, job.config, job.name)
        catalogue = Catalogue.open(Path(options.catalogue))
        settings = catalogue.settings()

        def check() -> None:
            stop_check(execution)
            execution.require_lease()

        try:
            done = generate(
                catalogue,
                lambda: catalogue_host.host(environment, settings, execution.stop).drawing(options.base_model),
                loras(environment, settings),
                readable=environment.readable,
                progress=execution.progress,
                check=check,
            )
        except Interrupted as error:
            raise Stopped from error
        finally:
            catalogue.close()
        return Outcome("done", "", {"generated": done.drawn, "failed": done.failed})


@dataclass(frozen=True)
class ExportOptions:
    """The keys of handing a catalogue's images over."""

    catalogue: str = option("", "Folder of the catalogue.")
    output_dir: str = option("", "Folder of the finished images; empty takes the one in the catalogue.")
    channels: list[str] = option([], "Channels; empty takes the catalogue's.")
    undecided: bool = option(False, "Also the first image of each product that nobody has decided about.")


class ExportCatalogue(Kind):
    """``config`` has the keys of :class:`ExportOptions`."""

    name = "catalogue_export"
    lane = "files"

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config."""
        options = asdict(read(ExportOptions, config, where, required=("catalogue",)))
        options |= {key: absolute(options[key], environment) for key in ("catalogue", "output_dir")}
        settings = _settings(options["catalogue"], environment)
        options["output_dir"] = options["output_dir"] or str(Path(options["catalogue"]) / FINISHED)
        return Plan(f"Export {settings.name or folder_name(options['catalogue'])}", options)

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Finish the images, and write the manifest."""
        from ...catalogue.export import export

        options = read(ExportOptions, job.config, job.name)
        credentials = _credentials(environment)
        catalogue = Catalogue.open(Path(options.catalogue))
        settings = catalogue.settings()
        try:
            done = export(
                catalogue,
                Path(options.output_dir),
                options.channels or settings.channels,
                undecided=options.undecided,
                credentials=credentials,
                readable=environment.readable,
                progress=execution.progress,
                check=lambda: stop_check(execution),
            )
        finally:
            catalogue.close()
        return Outcome("done", "", done.to_dict())


def _credentials(environment: Environment) -> Credentials | None:
    """What the operator has finished images signed with; no request can say anything else.

    Raises:
        UserError: the operator's file cannot be used.
    """
    try:
        return service_file.load(environment.data_dir).credentials
    except UserError as error:
        # It may cite what is in the file, and whoever asks for an export need not be its operator.
        raise UserError(
            f"{service_file.NAME} holds something that is not understood, so images cannot be signed as it says; its "
            "operator can see in the settings what."
        ) from error


def _settings(folder: str, environment: Environment) -> Settings:
    """Of a catalogue, if every file that they name may be read.

    Raises:
        UserError: one may not, or there is no catalogue.
    """
    catalogue = Catalogue.open(Path(folder))
    try:
        settings = catalogue.settings()
    finally:
        catalogue.close()
    files = [getattr(settings, key) for key in PATHS]
    for path in (*filter(None, files), *(one for one in settings.channels if one not in channels.names())):
        environment.readable(path)
    return settings
