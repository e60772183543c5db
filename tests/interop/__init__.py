"""Real programs in front of a server and at the other end of a connection; files to deploy one with."""
