"""How many workers each model shall have: the policy, its memory, who decides, and which workers go first."""
