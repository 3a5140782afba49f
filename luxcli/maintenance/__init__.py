"""Archives, restores, repairs and prunes what is stored."""
