"""Another WebUI as a host: it draws, and that alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NoReturn

from ...config import Config
from ...contract import Session
from ...errors import UserError
from .client import Client
from .drawer import SdapiDrawer


class SdapiHost:
    """A WebUI at an address that the operator has named; see ``contract.Host``."""

    def __init__(self, address: str, login_from: str = "", *, resolution: int = 1024, cfg_scale: float = 7.0) -> None:
        """Nothing is sent yet.

        Args:
            address: as for ``Client``.
            login_from: as for ``Client``.
            resolution: the side in pixels that its checkpoints were trained at, which its API does not say.
            cfg_scale: their usual one.

        Raises:
            UserError: the address is none, or the variable is not set.
        """
        self._client = Client(address, login_from)
        self._resolution = resolution
        self._cfg_scale = cfg_scale

    def open(self, config: Config) -> AbstractContextManager[Session]:
        """Not possible over the API.

        Raises:
            UserError: always.
        """
        self._refuse()

    @contextmanager
    def drawing(self, base_model: str) -> Iterator[SdapiDrawer]:
        """Draw with the checkpoint of this name or file name, or with the chosen one where it is empty; the WebUI's
        settings stay as they are.

        Raises:
            UserError: the WebUI cannot be reached, or has no such checkpoint.
        """
        yield SdapiDrawer(self._client, base_model, self._resolution, self._cfg_scale)

    def lora_dir(self) -> Path:
        """Not known.

        Raises:
            UserError: always.
        """
        self._refuse()

    def publish(self, lora: Path) -> None:
        """Not possible over the API.

        Raises:
            UserError: always.
        """
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UserError(f"The WebUI at {self._client.address} only draws; train and publish on this machine.")
