"""Files of runs: received apart from the frames, named by the SHA-256 of their content, kept in a folder or an S3
bucket."""
