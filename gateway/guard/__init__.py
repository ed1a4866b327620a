"""Floor 2: the doors. `passage` is the one path from a frame to the plant; read it first."""
