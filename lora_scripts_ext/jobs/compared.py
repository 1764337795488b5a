"""The two products of a comparison, as users name them: by what is drawn of them, by a photo, or from a catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..catalogue import fetching
from ..catalogue.loras import Loras
from ..catalogue.product import CatalogueProduct
from ..catalogue.product_files import ProductFiles
from ..catalogue.settings import Settings
from ..catalogue.store import FOLDER, NAME, Catalogue
from ..config_check import shown
from ..errors import UserError
from .environment import Environment
from .kinds.options import option, read
from .library_loras import loras

_MOST_LORAS = 8


@dataclass(frozen=True)
class SideOptions:
    """The keys of a product; with ``catalogue`` and ``product`` what is left out is taken from there."""

    prompt: str = option("", "What is drawn of it.")
    name: str = option("", "What the card calls it; empty takes the prompt, or the photo's file name.")
    loras: Any = option([], "LoRAs that act on it alone: each with file or name, and weight.")
    photo: str = option("", "A photo in place of a drawing, which stays as it is.")
    mask: str = option("", "Of the photo: white where the product is.")
    catalogue: str = option("", "Id of a catalogue, or its folder.")
    product: str = option("", "SKU of a product in it.")


@dataclass(frozen=True)
class LoraOptions:
    """The keys of a LoRA."""

    file: str = option("", "File of the LoRA.")
    name: str = option("", "Name of a model of the library, or of a file where LoRAs are used.")
    weight: float = option(1.0, "Multiplies its effect.", low=-10, high=10)


@dataclass(frozen=True)
class Compared:
    """A product that is compared.

    Attributes:
        config: the keys of :class:`SideOptions` without a catalogue: absolute paths, LoRAs as files.
        attributes: what its list says of it beside that.
        negative: its negative prompt.
        base_model: that of its catalogue.
    """

    config: dict[str, Any]
    attributes: Mapping[str, str]
    negative: str = ""
    base_model: str = ""


def compared(values: Any, environment: Environment, where: str) -> Compared:
    """A product that is compared; ``where`` names it in errors.

    Raises:
        UserError: a key cannot be used, or a file may not be read or is not there.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} is {shown(values)}; give prompt, name, loras and photo, or catalogue and product.")
    options = read(SideOptions, values, where)
    if bool(options.catalogue) != bool(options.product):
        raise UserError(f"{where}: catalogue and product name a product together; give both or neither.")
    if not options.catalogue:
        return Compared(_config(options, loras(environment, Settings()), environment, where), {})
    settings, product, files = _of_catalogue(options.catalogue, options.product, environment)
    known = _values(product, files)
    if "photo" in values:
        # The mask is that of the photo in the list.
        known["mask"] = ""
    merged = read(SideOptions, {**known, **values}, where)
    config = _config(merged, loras(environment, settings), environment, where)
    base = str(environment.readable(settings.base_model)) if settings.base_model and not settings.webui else ""
    return Compared(config, product.product.attributes, product.plan.negative, base)


def _of_catalogue(named: str, sku: str, environment: Environment) -> tuple[Settings, CatalogueProduct, ProductFiles]:
    own = environment.data_dir / FOLDER / named
    of_library = named.isalnum() and (own / NAME).is_file()
    catalogue = Catalogue.open(own if of_library else environment.readable(named))
    try:
        settings, product = catalogue.settings(), catalogue.by_sku(sku)
        readable = fetching.reading(catalogue, environment.readable)
        return settings, product, ProductFiles.of(product, Path(settings.folder), readable)
    finally:
        catalogue.close()


def _values(product: CatalogueProduct, files: ProductFiles) -> dict[str, Any]:
    """What a catalogue says of a product."""
    return {
        "name": product.product.title or product.sku,
        "prompt": product.plan.prompt,
        "loras": [dict(one) for one in product.plan.loras],
        "photo": str(files.photo or ""),
        "mask": str(files.mask or "") if files.photo else "",
    }


def _config(options: SideOptions, finder: Loras, environment: Environment, where: str) -> dict[str, Any]:
    """Complete, with what was named found."""
    if options.mask and not options.photo:
        raise UserError(f"{where}: mask is that of a photo, and there is none; name the photo, or take it out.")
    photo, mask = (str(environment.readable(path)) if path else "" for path in (options.photo, options.mask))
    found = [] if photo else _loras(options.loras, finder, where)
    name = options.name or options.prompt or Path(photo).stem
    config = {**asdict(options), "name": name, "loras": found, "photo": photo, "mask": mask}
    return {key: value for key, value in config.items() if key not in ("catalogue", "product")}


def _loras(values: Any, finder: Loras, where: str) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
        raise UserError(f"{where}: loras is {shown(values)}; give a list, each with file or name, and weight.")
    if len(values) > _MOST_LORAS:
        raise UserError(f"{where}: there are {len(values)} LoRAs, at most {_MOST_LORAS} act together; leave some out.")
    found = []
    for value in values:
        one = read(LoraOptions, value, f"{where}: loras")
        if bool(one.file) == bool(one.name):
            raise UserError("loras: each needs a file or a name, not both; correct it.")
        found.append({"file": str(finder.file(asdict(one))), "weight": one.weight})
    return found
