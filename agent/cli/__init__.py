"""The command line. It asks the running agent over its own door and keeps no knowledge of its own."""
