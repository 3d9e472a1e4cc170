//! FastWire's channels: acknowledgement, RTT, loss recovery, fragmentation and delivery modes.
