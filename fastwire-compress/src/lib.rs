//! FastWire's payload compression: LZ4, zstd with dictionaries, the hurdle and the bomb limit.
