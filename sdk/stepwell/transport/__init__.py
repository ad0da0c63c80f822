"""How bytes get to the server: connections and the pauses between attempts. Knows no frames and no runs."""
