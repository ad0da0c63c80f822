"""Who may do what: the form of API keys, the rights of a caller, and the keys that the database knows."""
