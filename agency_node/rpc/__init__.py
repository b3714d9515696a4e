"""The node's gRPC edges: calls to the broker, and the control service on this machine's unix socket."""
