"""What a finished LoRA is worth: measures of its checkpoints, and which of them to use."""
