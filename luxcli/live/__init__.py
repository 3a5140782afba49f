"""Shows or tries out live data: watch, capture, demo."""
