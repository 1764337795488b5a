"""The families' names, as configs have them."""

from __future__ import annotations

from typing import Literal

#: of the families that are read from a file or folder here
ModelFamily = Literal["auto", "sd1", "sd2", "sdxl", "flux", "chroma"]
#: option of kohya's scripts -> the family that it selects
KOHYA_OPTIONS: dict[str, ModelFamily] = {"v2": "sd2", "sdxl": "sdxl"}
