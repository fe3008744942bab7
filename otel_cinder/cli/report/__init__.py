"""Notes on traces as files: Markdown, and HTML in one file."""
