"""The offline-first loyalty agent that runs beside every till."""
