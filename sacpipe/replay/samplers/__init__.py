"""How batches are drawn from replay buffers."""
