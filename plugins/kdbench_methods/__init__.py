"""First-party methods, one file each, found exactly as third-party ones are."""
