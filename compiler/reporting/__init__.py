"""Reports on the terminal, as JSON and as HTML."""
