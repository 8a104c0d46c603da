"""What stands on AWS alone: the functions' settings, and how each of them is put together."""
