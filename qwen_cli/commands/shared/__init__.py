"""What several commands share: options, opening an engine, output, approval."""
