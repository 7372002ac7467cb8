"""The Qwen families: sizes, licences, sources, sampling."""
