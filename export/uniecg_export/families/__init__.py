"""Model families: what is peculiar to each."""
