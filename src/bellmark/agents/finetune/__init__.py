"""The finetune family: a policy improved from a checkpoint (or from nothing) by PPO or AWR on chosen advantages."""
