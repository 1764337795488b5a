"""The setting that says what becomes of a picture that is asked for while a LoRA is trained."""

from __future__ import annotations

#: key of the setting, and its answers
SETTING = "lora_trainer_meanwhile"
WAIT, REFUSE = "waits until the training is over", "is refused with a message"
