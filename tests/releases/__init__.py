"""What earlier releases have stored, which every later one must read and audit."""
