"""Whether the checkpoint that a run was started for is still there when the run begins."""

import os
from pathlib import Path

import pytest

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.webui import selection


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(selection, "_loaded", {})
    monkeypatch.setattr(selection, "_newest", None)
    for name in ("a", "b", "vae"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    return [str(tmp_path / f"{name}.safetensors") for name in ("a", "b", "vae")]


def replace(path):
    """Another file of the same size and name."""
    os.utime(path, ns=(1, 1))


def test_the_same_file_by_whatever_path_is_trained_on(files, tmp_path):
    a, _, vae = files
    (tmp_path / "link.safetensors").symlink_to(a)
    before = selection.stamps([a, vae])
    selection.require(a, [a, vae], before)
    selection.require(str(tmp_path / "link.safetensors"), [a, vae], before)
    selection.require(str(tmp_path / "x" / ".." / "a.safetensors"), [a, vae], before)


def test_another_choice_is_refused_and_both_are_named(files):
    a, b, _ = files
    with pytest.raises(
        UserError, match=r"started for a\.safetensors, but the WebUI's checkpoint is now b\.safetensors"
    ):
        selection.require(a, [b], selection.stamps([a]))


@pytest.mark.parametrize("changed", [0, 2])
def test_a_file_that_was_replaced_meanwhile_is_refused(files, changed):
    chosen = [files[0], files[2]]
    before = selection.stamps(chosen)
    replace(files[changed])
    with pytest.raises(UserError, match="is no longer the file that the WebUI had"):
        selection.require(files[0], chosen, before)


def test_a_vae_that_was_chosen_or_given_up_meanwhile_is_refused(files):
    a, _, vae = files
    for before, now in (([a], [a, vae]), ([a, vae], [a])):
        with pytest.raises(UserError, match="is no longer the file that the WebUI had"):
            selection.require(a, now, selection.stamps(before))


def test_a_file_that_was_replaced_after_it_was_loaded_is_refused(files):
    a, b, _ = files
    model = object()
    selection.note_loaded(model, a)
    replace(a)
    # A new VAE is announced like a new checkpoint, and reads nothing of it.
    selection.note_loaded(model, a)
    with pytest.raises(UserError, match="is no longer the file that the WebUI had"):
        selection.require(a, [a], selection.stamps([a]))
    selection.note_loaded(model, b)
    selection.note_loaded(model, a)
    selection.require(a, [a], selection.stamps([a]))


def test_a_deleted_file_that_is_still_in_memory_is_refused(files):
    a = files[0]
    before = selection.stamps([a])
    Path(a).unlink()
    with pytest.raises(UserError, match="is no longer the file"):
        selection.require(a, [a], before)
