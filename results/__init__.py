"""Results as data: paper/ holds published numbers, published/ this project's committed records."""
