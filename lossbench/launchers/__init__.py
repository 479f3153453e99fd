"""What Hydra launchers of our own do; the launchers themselves are in `hydra_plugins`."""
