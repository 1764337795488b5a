"""What tests have in common: one thread for each process, a shop's images, a small base model.

OpenMP's threads spin while they wait for each other, so two processes that both take all cores slow each other down
many times over. The number has to be set before torch is imported; processes that tests start inherit it.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from . import models, shop


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder of six images with captions."""
    return shop.write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A tiny SD1 checkpoint."""
    return models.write_checkpoint(tmp_path_factory.mktemp("model") / "tiny.safetensors", "sd1")
