"""Channels: axes with channel ids, and the edits of baked sizes that follow from what stays."""
