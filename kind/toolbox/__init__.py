"""Small helpers that every script in kind/ uses; standard library only."""
