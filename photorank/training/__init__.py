"""Training: fusion heads from features, many at once (`fusion`), and Siamese rankers from pixels (`siamese`)."""
