"""Who draws for a catalogue: the host of the program, or another WebUI that the operator allows."""

from __future__ import annotations

from collections.abc import Callable

from ..catalogue.settings import Settings
from ..contract import Host
from .environment import Environment


def host(environment: Environment, settings: Settings, stop: Callable[[], None]) -> Host:
    """The host for a catalogue with these settings; ``stop`` as for ``Environment.host``.

    Raises:
        UserError: nothing may be sent to that WebUI, or its address is none.
    """
    if not settings.webui:
        return environment.host(stop)
    from ..hosts.sdapi.host import SdapiHost

    return SdapiHost(environment.endpoint(settings.webui, settings.webui_login), settings.webui_login)


def base_model(environment: Environment, settings: Settings, wanted: str = "") -> str:
    """What it draws with: ``wanted``, else the catalogue's, else the program's own; of another WebUI its name there,
    where empty is the chosen one.

    Raises:
        UserError: the file may not be read.
    """
    chosen = wanted or settings.base_model
    if settings.webui:
        return chosen
    chosen = chosen or environment.base_model()
    return str(environment.readable(chosen)) if chosen else ""
