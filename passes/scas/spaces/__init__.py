"""The spaces of SCAS, one file each."""
