"""One room for each vendor the agent speaks to."""
