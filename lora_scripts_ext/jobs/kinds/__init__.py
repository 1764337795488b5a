"""What jobs do: a file for each kind."""
