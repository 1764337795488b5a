"""Settings that other trainers nest or keep in further files, as one flat mapping."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from . import config_file
from .config_check import shown
from .errors import UserError

#: keys of other trainers that are mappings themselves
_MAPPINGS = ("network_args", "lr_scheduler_args")
_FOREIGN = {
    "ai-toolkit": ("job", "config"),
    "OneTrainer": ("training_method", "concept_file_name"),
}


def flat(values: dict[str, Any], known: Collection[str], where: str) -> dict[str, Any]:
    """``values`` with the keys of kohya's sections, and of its ``[[datasets]]``, beside the others.

    A mapping under a key that is ``known`` is no section.

    Raises:
        UserError: two sections differ in a key, or the data sets need more than one folder.
    """
    for trainer, names in _FOREIGN.items():
        if all(name in values for name in names):
            raise UserError(
                f"{where}: this is a config of {trainer}, whose structure differs; start from a file in configs/."
            )
    merged: dict[str, Any] = {}
    for section, content in values.items():
        if section == "datasets":
            continue
        nested = isinstance(content, dict) and section not in known and section not in _MAPPINGS
        _add(merged, content if nested else {section: content}, where)
    if "datasets" in values:
        _add(merged, _dataset(values["datasets"], merged, where), where)
    return merged


def with_files(values: dict[str, Any], known: Collection[str], where: str) -> dict[str, Any]:
    """``values`` with what stands in the files that kohya's ``dataset_config`` and ``sample_prompts`` name.

    Raises:
        UserError: such a file cannot be read, or repeats a setting from elsewhere.
    """
    merged = dict(values)
    prompts, dataset = merged.get("sample_prompts"), merged.get("dataset_config")
    if isinstance(prompts, str) and prompts.strip():
        path = Path(prompts.strip()).expanduser()
        if path.suffix.lower() != ".txt":
            raise UserError(f"{where}: sample_prompts is {path}; write the prompts as a list under preview_prompts.")
        merged["sample_prompts"] = _prompts(config_file.read_text(path))
    if isinstance(dataset, str) and dataset.strip():
        path = Path(dataset.strip()).expanduser()
        del merged["dataset_config"]
        _add(merged, flat(config_file.read(path), known, str(path)), where)
    return merged


def _add(merged: dict[str, Any], more: dict[str, Any], where: str) -> None:
    for key, value in more.items():
        if key in merged and merged[key] != value:
            raise UserError(
                f"{where}: {key} is {shown(merged[key])} in one place and {shown(value)} in another; keep one."
            )
        merged[key] = value


def _dataset(datasets: Any, general: dict[str, Any], where: str) -> dict[str, Any]:
    """The keys of the one data set and its one subset, with one of regularisation images beside it at most.

    What stands further inside wins over ``general``, from which it is taken out.
    """
    if not _tables(datasets) or not all(_tables(one.get("subsets")) for one in datasets):
        raise UserError(f"{where}: datasets holds no [[datasets.subsets]] with an image_dir; name train_data_dir.")
    if len(datasets) > 1:
        raise UserError(
            f"{where}: there are {len(datasets)} [[datasets]], here a run has one resolution and batch size; keep one "
            "and train the others by a config each."
        )
    dataset = {key: value for key, value in datasets[0].items() if key != "subsets"}
    subsets = datasets[0]["subsets"]
    training_subsets = [one for one in subsets if not one.get("is_reg")]
    regularisation = [one for one in subsets if one.get("is_reg")]
    if len(training_subsets) != 1 or len(regularisation) > 1:
        raise UserError(
            f"{where}: there are {len(subsets)} [[datasets.subsets]]; put their images into sub-folders named "
            "REPEATS_NAME (10_shoe) of one folder, and name that folder in train_data_dir."
        )
    merged = {**dataset, **{key: value for key, value in training_subsets[0].items() if key != "is_reg"}}
    if regularisation:
        merged |= _regularisation(regularisation[0], {**general, **dataset}, merged, where)
    for key in merged:
        general.pop(key, None)
    return merged


def _regularisation(subset: dict[str, Any], outer: dict[str, Any], main: dict[str, Any], where: str) -> dict[str, Any]:
    """The folder of regularisation images; it cannot have settings of its own."""
    for key, value in subset.items():
        if key not in ("is_reg", "image_dir") and {**outer, **main}.get(key) != value:
            raise UserError(
                f"{where}: the regularisation subset has a {key} of its own ({shown(value)}); name its folder in "
                "reg_data_dir and take the key out."
            )
    return {"reg_data_dir": subset.get("image_dir", "")}


def _tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _prompts(text: str) -> list[str]:
    """The lines of kohya's file of prompts; `#` starts a comment."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
