"""The figures of a report: one style, colour-blind safe, hatched and marked to be readable in grey."""
