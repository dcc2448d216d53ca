"""The console's screens, each imported when it is first shown."""
