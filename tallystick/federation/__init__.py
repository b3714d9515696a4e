"""The federation's office: its certificate authority, root, registry, and who may join."""
