"""llama.cpp in the process."""
