"""What happens to a training image, in one of four kinds."""
