"""LoRA Trainer: one engine that trains a LoRA headless or inside a WebUI."""

__version__ = "0.1.0"
