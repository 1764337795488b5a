"""The command lines: arguments in, one line of JSON and an exit code out."""
