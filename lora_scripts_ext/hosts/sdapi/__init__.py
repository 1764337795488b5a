"""Another WebUI, which draws over its own API (``/sdapi/v1``)."""
