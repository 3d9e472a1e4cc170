//! Reed-Solomon erasure code as kcp-go and FastWire's extended profile use it.
