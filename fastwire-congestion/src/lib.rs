//! FastWire's congestion control: the controller trait, the built-in controllers and a conformance suite.
