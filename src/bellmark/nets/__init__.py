"""Network pieces that the families share."""
