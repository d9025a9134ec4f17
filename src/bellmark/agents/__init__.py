"""Agent families; each is whole in its own folder and knows no other."""
