"""Archives, restores and prunes what is stored."""
