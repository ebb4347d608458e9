"""Where lines come from: files that are followed over rotation, and standard input."""
