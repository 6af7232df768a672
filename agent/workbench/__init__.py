"""Where the agent is shown and tried out: the demonstration and the simulators. Nothing else uses a simulator."""
