"""The parts of the load benchmark; `bench/load` starts it."""
