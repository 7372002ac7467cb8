"""`qwen models` and `qwen doctor`: weights, plans and what this machine has."""
