"""The dreamer family: DreamerV3 (Hafner et al. 2025), with instruments for a world model that lags its policy."""
