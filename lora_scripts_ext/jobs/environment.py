"""Where jobs run: on which host, in which folder, with what rights."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..contract import Host, Inspection


#: how models are called on the hub
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


class Environment(Protocol):
    """What jobs need of the program that they run in."""

    @property
    def data_dir(self) -> Path:
        """The folder of the library and of what jobs write."""

    @property
    def runner(self) -> str:
        """The kind of the program, which a job may ask for."""

    def host(self, stop: Callable[[], None]) -> Host:
        """The host that holds base models; ``stop`` is called when the user stops the run there."""

    def inspection(self, config: Any) -> Inspection:
        """The base model of a training's config, for an estimate.

        Raises:
            UserError: it cannot be trained on.
        """

    def readable(self, path: str) -> Path:
        """``path``, made absolute, if it may be read on behalf of a user.

        Raises:
            UserError: it may not.
        """

    def endpoint(self, url: str) -> str:
        """``url``, if images may be sent there.

        Raises:
            UserError: they may not.
        """

    def captioner_model(self, model: str) -> str:
        """A captioner's model: a folder, made absolute, that may be read, or its name on the hub.

        Raises:
            UserError: it may not be read.
        """

    def base_model(self) -> str:
        """The base model of trainings that name none; empty where there is none."""


class Standalone:
    """Outside of a WebUI: base models are read from files, and whoever may start a job may read what the process may,
    unless ``roots`` bounds that."""

    runner = "worker"

    def __init__(self, data_dir: Path, base_model: str = "", roots: tuple[Path, ...] = ()) -> None:
        """``roots``: the folders that jobs may read; empty for all."""
        self.data_dir = data_dir
        self._base_model = base_model
        self._roots = tuple(root.resolve() for root in roots)

    def host(self, stop: Callable[[], None]) -> Host:
        """The standalone host, which nothing stops but the job itself."""
        from ..hosts.standalone.host import StandaloneHost

        return StandaloneHost()

    def inspection(self, config: Any) -> Inspection:
        """See :meth:`Environment.inspection`."""
        from ..hosts.standalone.inspection import inspect

        return inspect(config)

    def readable(self, path: str) -> Path:
        """See :meth:`Environment.readable`."""
        from ..errors import UserError

        if "\0" in path:
            raise UserError(f"{path!r}: no file has such a name; correct it.")
        absolute = Path(path).expanduser().absolute()
        real = absolute.resolve()
        inside = (self.data_dir.resolve(), *self._roots)
        if self._roots and not any(real.is_relative_to(root) for root in inside):
            raise UserError(
                f"{path}: this server reads only below {', '.join(map(str, inside))}; move it there, or start the "
                "server with --allowed-root FOLDER."
            )
        return absolute

    def endpoint(self, url: str) -> str:
        """See :meth:`Environment.endpoint`."""
        return url

    def captioner_model(self, model: str) -> str:
        """See :meth:`Environment.captioner_model`."""
        by_name = not model or (HUB_NAME.fullmatch(model) and not Path(model).is_dir())
        return model if by_name else str(self.readable(model))

    def base_model(self) -> str:
        """See :meth:`Environment.base_model`."""
        return self._base_model
