//! What a controller answers: the quota, the window behind it, and how to repeat what is lost.

use crate::InFlight;

/// How much may leave now. Both limits hold; whichever ends first ends the sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Packets, `u32::MAX` for no limit.
    pub packets: u32,
    /// UDP payload bytes, `u64::MAX` for no limit.
    pub bytes: u64,
}

impl Quota {
    /// No gate at all.
    pub const UNLIMITED: Self = Self { packets: u32::MAX, bytes: u64::MAX };
    /// Nothing may leave now.
    pub const NONE: Self = Self { packets: 0, bytes: 0 };

    /// Whether a packet of `bytes` may leave.
    pub const fn allows(self, bytes: u64) -> bool {
        self.packets > 0 && self.bytes >= bytes
    }
}

/// How much may be in flight. `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Packets.
    pub packets: Option<u32>,
    /// UDP payload bytes.
    pub bytes: Option<u64>,
}

impl Window {
    /// No limit in packets or in bytes.
    pub const UNLIMITED: Self = Self { packets: None, bytes: None };

    /// A window counted in packets only.
    pub const fn of_packets(packets: u32) -> Self {
        Self { packets: Some(packets), bytes: None }
    }

    /// A window counted in UDP payload bytes only.
    pub const fn of_bytes(bytes: u64) -> Self {
        Self { packets: None, bytes: Some(bytes) }
    }

    /// What of the window is left: the quota of a controller that does nothing but keep its window.
    pub fn minus(self, in_flight: InFlight) -> Quota {
        Quota {
            packets: self.packets.map_or(u32::MAX, |window| window.saturating_sub(in_flight.packets)),
            bytes: self.bytes.map_or(u64::MAX, |window| window.saturating_sub(in_flight.bytes)),
        }
    }
}

/// How soon the first repeat of an unacknowledged packet leaves. Every later one waits twice as long as the one
/// before, whatever the first did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FirstRepeat {
    /// After a whole retransmission timeout (RFC 6298 §5).
    #[default]
    FullRto,
    /// After half of it, but never under 50 ms nor under the measured round-trip time (PROTOCOL A11).
    HalfRto,
}

/// How eagerly loss recovery repeats packets under a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecoveryProfile {
    /// So many later packets acknowledged make a packet count as lost. At least 1.
    pub fast_retransmit_threshold: u32,
    /// When the first repeat for want of acknowledgements leaves.
    pub first_repeat: FirstRepeat,
}

impl RecoveryProfile {
    /// Three later packets, a full timeout (RFC 5681 §3.2, PROTOCOL A6 rule 3).
    pub const CONSERVATIVE: Self = Self::new(3, FirstRepeat::FullRto);
    /// Two later packets, half a timeout (PROTOCOL A6 rule 3, A11).
    pub const AGGRESSIVE: Self = Self::new(2, FirstRepeat::HalfRto);

    /// A profile of one's own.
    pub const fn new(fast_retransmit_threshold: u32, first_repeat: FirstRepeat) -> Self {
        Self { fast_retransmit_threshold, first_repeat }
    }
}

impl Default for RecoveryProfile {
    fn default() -> Self {
        Self::CONSERVATIVE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_never_negative_and_none_never_limits() {
        let window = Window { packets: Some(4), bytes: Some(5000) };
        assert_eq!(window.minus(InFlight::new(1, 1200)), Quota { packets: 3, bytes: 3800 });
        assert_eq!(window.minus(InFlight::new(9, 9000)), Quota::NONE);
        assert_eq!(Window::UNLIMITED.minus(InFlight::new(u32::MAX, u64::MAX)), Quota::UNLIMITED);
    }

    #[test]
    fn a_packet_needs_room_in_both_limits() {
        assert!(Quota { packets: 1, bytes: 1200 }.allows(1200));
        assert!(!Quota { packets: 1, bytes: 1199 }.allows(1200));
        assert!(!Quota { packets: 0, bytes: u64::MAX }.allows(0));
    }
}
