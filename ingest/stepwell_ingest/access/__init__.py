"""Access control: the form of API keys, the rights of callers, and a worker's cache of the keys in the database."""
