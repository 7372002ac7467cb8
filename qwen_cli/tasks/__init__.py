"""What to ask of a model. No terminal, no engine details: everything here works from a notebook."""
