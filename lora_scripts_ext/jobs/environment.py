"""Where jobs run: on which host, in which folder, with what rights."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import UserError

if TYPE_CHECKING:
    from ..contract import Host, Inspection


#: how models are called on the hub
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def is_network(path: str) -> bool:
    """Whether Windows would look for ``path`` on another machine or among its devices: ``//server/share``, ``//?/``."""
    written = path.strip().replace("/", "\\")
    return written.startswith(("\\\\", "\\??\\"))


class Environment(Protocol):
    """What jobs need of the program that they run in."""

    @property
    def data_dir(self) -> Path:
        """The folder of the library and of what jobs write."""

    @property
    def runner(self) -> str:
        """The kind of the program, which a job may ask for."""

    @property
    def uses_keys(self) -> bool:
        """Whether a key is what opens the API to other machines."""

    def lora_dir(self) -> Path | None:
        """The folder that finished LoRAs are copied to for use; None where they stay with their models."""

    def relist(self, changed: Path | None = None) -> None:
        """Files have come to the folder of :meth:`lora_dir`, gone or been renamed, or ``changed`` is another one of its
        name: list them again."""

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

    def roots(self) -> list[Path]:
        """The folders below which ``readable`` lets users read; empty where they may read everywhere."""

    def endpoint(self, url: str, key_from: str) -> str:
        """``url``, if images may be sent there, with the key in the environment variable ``key_from``.

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

    def refuses_training(self, base_model: str) -> str:
        """Why no training on ``base_model`` (empty: none is named) can be queued, as a sentence; empty where it can."""


@dataclass(frozen=True)
class Bounds:
    """What jobs may do where others than the machine's own users hand them in.

    Attributes:
        roots: folders that may be read and written, beside the data folder.
        endpoints: where images may be sent, each with the environment variable that holds its key, or nothing.
    """

    roots: tuple[Path, ...] = ()
    endpoints: frozenset[tuple[str, str]] = frozenset()


class Standalone:
    """Outside of a WebUI: base models are read from files, and whoever may start a job may read what the process may,
    unless ``bounds`` says otherwise."""

    runner = "worker"
    uses_keys = True

    def __init__(self, data_dir: Path, base_model: str = "", bounds: Bounds | None = None) -> None:
        """``base_model``: of trainings that name none; it may be read whatever the bounds."""
        self.data_dir = data_dir
        self._base_model = base_model
        self._bounds = bounds

    def lora_dir(self) -> None:
        """See :meth:`Environment.lora_dir`."""
        return

    def relist(self, changed: Path | None = None) -> None:
        """See :meth:`Environment.relist`; nobody lists them."""

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
        if "\0" in path:
            raise UserError(f"{path!r}: no file has such a name; correct it.")
        # By its letters first: what lies outside is not even looked at.
        absolute = Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 - pathlib would follow links
        if self._bounds is None or str(absolute) == self._base_model:
            return absolute
        roots = self.roots()
        named = any(absolute.is_relative_to(root.absolute()) for root in roots)
        if not named or not any(absolute.resolve().is_relative_to(root.resolve()) for root in roots):
            raise UserError(
                f"{path}: this server reads and writes only below {', '.join(map(str, roots))}; move it there, or "
                "start the server with --allowed-root FOLDER."
            )
        return absolute

    def roots(self) -> list[Path]:
        """See :meth:`Environment.roots`."""
        return [] if self._bounds is None else [self.data_dir, *self._bounds.roots]

    def endpoint(self, url: str, key_from: str) -> str:
        """See :meth:`Environment.endpoint`."""
        if self._bounds is not None and (url, key_from) not in self._bounds.endpoints:
            raise UserError(
                f"endpoint: this server can be reached by others, so it sends images only to the endpoints in "
                f"service.yaml, each with its own key_from; {url[:200]} is none of them."
            )
        return url

    def captioner_model(self, model: str) -> str:
        """See :meth:`Environment.captioner_model`."""
        by_name = not model or (HUB_NAME.fullmatch(model) and not Path(model).is_dir())
        return model if by_name else str(self.readable(model))

    def base_model(self) -> str:
        """See :meth:`Environment.base_model`."""
        return self._base_model

    def refuses_training(self, base_model: str) -> str:
        """See :meth:`Environment.refuses_training`."""
        return ""
