"""The setting for requests to generate images while a LoRA is trained."""

from __future__ import annotations

#: key of the setting, and its values
SETTING = "lora_trainer_meanwhile"
WAIT, REFUSE = "waits until the training is over", "is refused with a message"
