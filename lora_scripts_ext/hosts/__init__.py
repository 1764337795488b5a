"""Where the model lives: a folder a host, all behind one contract (``contract.py``)."""
