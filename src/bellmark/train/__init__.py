"""Running an agent: the loop, evaluation, checkpoints."""
