"""What every simulated vendor stands on: a port that can be cut and mended, a gate with faults, and controls."""
