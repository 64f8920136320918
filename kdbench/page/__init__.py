"""Records -> pictures and one offline page; neither torch nor plugins."""
