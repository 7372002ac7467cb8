"""The language server: completions inside editors, LSP 3.18 `textDocument/inlineCompletion`."""
