"""The bastion side of a node: ssh connections and the agent's client."""
