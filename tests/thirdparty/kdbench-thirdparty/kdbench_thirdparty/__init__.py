"""Methods of a third party."""
