"""Every config that ships is valid and explains itself."""

from pathlib import Path

import pytest

from lora_scripts_ext import config as configs

FOLDER = Path(__file__).resolve().parent.parent / "configs"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_a_shipped_config_is_valid_and_commented(path):
    config = configs.load(path)
    assert config.output_dir
    assert path.read_text(encoding="utf-8").count("#") >= 3
