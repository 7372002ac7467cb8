"""`qwen chat`: one-shot questions and the interactive conversation."""
