"""Whether data are what they should be, and pictures to look at."""
