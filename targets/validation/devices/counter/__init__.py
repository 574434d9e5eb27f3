"""Instructions of an inference under emulation: never a time, and the same in every run."""
