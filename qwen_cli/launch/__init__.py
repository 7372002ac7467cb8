"""vLLM and SGLang, started with arguments that are worked out from the plan."""
