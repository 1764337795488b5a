"""Ways to adapt a frozen layer: a file per method, behind the interface in ``method.py``."""
