"""Fill-in-the-middle: prompt, end of the middle, joining it to the file."""
