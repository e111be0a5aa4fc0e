"""Data sets: from a folder or file of the user to a Task in memory."""
