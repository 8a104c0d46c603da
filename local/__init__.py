"""The one-machine stack behind `make run`: database, simulated providers, gateway."""
