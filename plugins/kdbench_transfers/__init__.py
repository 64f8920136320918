"""Transfer policies that ship with kdbench: one file a policy."""
