"""How knowledge spreads: membership, rumours, anti-entropy. Decides nothing about addresses."""
