"""What proposes architectures, one file each."""
