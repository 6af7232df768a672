"""What the agent does, a room a verb: each is given ports and values, and none knows another."""
