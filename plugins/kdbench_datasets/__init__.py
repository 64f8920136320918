"""First-party data sets, one file a source; found by the host exactly as third-party ones are."""
