"""LoRA: the maths, attaching it to a model, the .safetensors file."""
