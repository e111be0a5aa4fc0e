"""The contract between passes and the compiler: what a pass is, is given, and is held to."""
