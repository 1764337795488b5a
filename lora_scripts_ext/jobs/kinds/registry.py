"""The kinds of jobs, by name."""

from __future__ import annotations

from ...errors import UserError
from .caption import Caption
from .catalogue import DrawCatalogue, ExportCatalogue
from .catalogue_copy import WriteCopy
from .check import Check
from .comparison import Compare
from .generate import Generate
from .import_loras import ImportLoras
from .into_checkpoint import IntoCheckpoint
from .kind import Kind
from .merge import Merge, Resize
from .prepare import Prepare
from .review import Review
from .train import Train
from .update import Update

_ALL = (
    Train(), Caption(), Prepare(), Check(), Generate(), Review(), Update(), Merge(), Resize(), IntoCheckpoint(),
    ImportLoras(), DrawCatalogue(), ExportCatalogue(), WriteCopy(), Compare(),
)  # fmt: skip
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}


def by_name(name: str) -> Kind:
    """The kind with this name.

    Raises:
        UserError: there is none.
    """
    if name not in KINDS:
        raise UserError(f"kind: {name[:40]!r} is no kind of job; expected one of {', '.join(KINDS)}.")
    return KINDS[name]
