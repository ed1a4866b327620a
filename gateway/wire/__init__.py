"""Floor 1: bytes ⇄ frames ⇄ operations. Sans-IO and pure: no socket, no clock, no dice, no log."""
