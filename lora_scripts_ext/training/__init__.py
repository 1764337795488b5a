"""Noise and loss, optimizer and schedule, the loop, run state, previews."""
