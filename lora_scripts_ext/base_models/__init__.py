"""Base models on disk: what a file or folder holds, how it is read, and what is refused."""
