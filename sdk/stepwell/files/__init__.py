"""Media and saved files: encoded in a thread of their own, kept on the disk, and uploaded beside the frames."""
