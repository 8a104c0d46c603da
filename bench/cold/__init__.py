"""What `bench.cold_start` starts: a task root for each of the two."""
