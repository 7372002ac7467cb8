"""One module a verb: parse, call a task, render."""
