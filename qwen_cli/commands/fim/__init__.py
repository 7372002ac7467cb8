"""`qwen code-fim`: fill in code, in the shell and in editors."""
