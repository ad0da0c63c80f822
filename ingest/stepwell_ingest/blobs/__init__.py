"""Files of runs: taken in beside the frames, named by the SHA-256 of their bytes, kept in a folder or an S3 bucket."""
