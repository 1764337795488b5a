"""Where the model lives: one contract (base.py), one file a host."""
