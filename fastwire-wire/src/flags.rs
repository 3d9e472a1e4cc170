//! The bit sets on the wire. Bits without a name travel through them unchanged.

use core::fmt;
use core::ops::{BitAnd, BitOr};

macro_rules! bit_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$bit_doc:meta])* $bit:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(u8);

        impl $name {
            $($(#[$bit_doc])* pub const $bit: Self = Self($value);)*

            /// No bit set.
            pub const EMPTY: Self = Self(0);

            /// Takes a byte as it is on the wire, unknown bits included.
            pub const fn from_bits(bits: u8) -> Self {
                Self(bits)
            }

            /// The byte as it is on the wire.
            pub const fn bits(self) -> u8 {
                self.0
            }

            /// Whether every bit of `other` is set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether no bit is set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The bits of both.
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The bits set in both.
            #[must_use]
            pub const fn intersection(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }

        impl BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                self.union(other)
            }
        }

        impl BitAnd for $name {
            type Output = Self;

            fn bitand(self, other: Self) -> Self {
                self.intersection(other)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let names = [$((Self::$bit, stringify!($bit)),)*];
                debug(f, stringify!($name), self.0, names.map(|(bit, name)| (bit.0, name)))
            }
        }
    };
}

bit_set! {
    /// First byte of a packet header (PROTOCOL A2).
    PacketFlags {
        /// The packet carries a fragment of a message.
        FRAGMENT = 0x01,
        /// The packet is a control packet.
        CONTROL = 0x02,
    }
}

bit_set! {
    /// Last byte of a fragment header (PROTOCOL A7) and content flags of a DATA frame (B5): how the whole message travels.
    FragmentFlags {
        /// The message is compressed.
        COMPRESSED = 0x01,
        /// The algorithm is zstd; without this bit LZ4.
        ZSTD = 0x02,
        /// Extended profile only: a [`Stamp`](crate::extended::Stamp) stands before the message's bytes.
        STAMPED = 0x04,
    }
}

bit_set! {
    /// Features offered in CONNECT and agreed in CHALLENGE (PROTOCOL A5).
    Features {
        /// Several sealed packets share a datagram (PROTOCOL A9).
        SEND_BATCHING = 0x01,
        /// The client may change its address (PROTOCOL A10).
        CONNECTION_MIGRATION = 0x02,
        /// The extended profile (PROTOCOL part B).
        EXTENDED = 0x04,
    }
}

/// `PacketFlags(FRAGMENT | 0x80)`: names first, then the bits without one.
fn debug<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    set: &str,
    mut bits: u8,
    names: [(u8, &str); N],
) -> fmt::Result {
    write!(f, "{set}(")?;
    let mut separator = "";
    for (bit, name) in names {
        if bits & bit != 0 {
            write!(f, "{separator}{name}")?;
            separator = " | ";
            bits &= !bit;
        }
    }
    if bits != 0 {
        write!(f, "{separator}{bits:#04x}")?;
    }
    f.write_str(")")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn debug_names_known_bits_and_keeps_the_others() {
        assert_eq!(format!("{:?}", PacketFlags::EMPTY), "PacketFlags()");
        assert_eq!(format!("{:?}", PacketFlags::from_bits(0xfe)), "PacketFlags(CONTROL | 0xfc)");
        assert_eq!(format!("{:?}", Features::from_bits(0x07)).matches('|').count(), 2);
    }

    #[test]
    fn contains_asks_for_every_bit() {
        let both = Features::SEND_BATCHING | Features::CONNECTION_MIGRATION;
        assert!(both.contains(Features::SEND_BATCHING) && !Features::SEND_BATCHING.contains(both));
        assert!(Features::EMPTY.contains(Features::EMPTY));
        assert_eq!(both & Features::from_bits(0xfe), Features::CONNECTION_MIGRATION);
    }
}
