"""Media and saved files: encoded in a thread of their own, kept on disk, and uploaded beside the frames."""
