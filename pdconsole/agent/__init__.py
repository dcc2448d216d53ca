"""The node side: standard library only, shipped to the node as one zipapp (Python >= 3.9)."""
