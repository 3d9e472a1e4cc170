//! FastWire's encoding primitives, headers and control payloads: bytes to values and back.
