"""What models write, taken apart: thinking and tool calls."""
