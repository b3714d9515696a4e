"""`tallystick policy`: what information-governance officers do with policies and linkage agreements."""
