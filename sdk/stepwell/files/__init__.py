"""Media and saved files: encoded in a thread of their own, kept on disk, and uploaded in parallel with the frames."""
