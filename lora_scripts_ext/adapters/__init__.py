"""LoRA adapters: the maths, attaching to a model, kohya names, the .safetensors file."""
