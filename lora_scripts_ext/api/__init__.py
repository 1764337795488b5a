"""The service over HTTP, ``/lora-trainer/v1``: the same routes in every WebUI and in a server of its own."""
