"""What outlives every process: models with their versions, jobs with their attempts, in one SQLite file."""
