"""`qwen code-edit`: change code as an instruction says."""
