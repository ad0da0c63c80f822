"""What every command shares: the shape of a command, and how numbers, sizes, tables and progress look on a terminal."""
