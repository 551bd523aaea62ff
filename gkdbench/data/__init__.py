"""Images and labels: datasets, training streams, the streets renderer, contact sheets."""
