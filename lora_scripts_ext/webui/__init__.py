"""The tab inside a WebUI and its routes."""
