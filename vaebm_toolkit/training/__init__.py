"""Running a stage: the loop, checkpoints, the run directory, health."""
