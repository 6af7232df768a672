"""What every simulated vendor stands on: a port that can be cut and mended, and faults on the line to it."""
