"""The host without a WebUI: it reads the base model itself and computes with diffusers."""
