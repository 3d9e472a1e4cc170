//! The handshake of PROTOCOL A5: CONNECT, CHALLENGE, RESPONSE.

pub(crate) mod budget;
pub(crate) mod client;
pub(crate) mod extended;
pub(crate) mod offer;
pub(crate) mod pending;

use fastwire_wire::{
    CONTROL_PREFIX, Challenge, Connect, Control, ControlType, PROTOCOL_VERSION, PacketFlags, PacketHeader,
    Reject, VersionMismatch,
};

/// A handshake packet that travels bare, with a header and no seal.
#[derive(Debug)]
pub(crate) enum BareControl {
    Connect(Connect),
    Challenge(Challenge),
    VersionMismatch(VersionMismatch),
    Reject(Reject),
}

impl BareControl {
    /// Which one it is.
    pub(crate) fn kind(&self) -> ControlType {
        match self {
            BareControl::Connect(_) => ControlType::Connect,
            BareControl::Challenge(_) => ControlType::Challenge,
            BareControl::VersionMismatch(_) => ControlType::VersionMismatch,
            BareControl::Reject(_) => ControlType::Reject,
        }
    }
}

/// Reads a datagram as a bare handshake packet. A sealed packet may look like one by chance, so where
/// keys exist they are tried first (PROTOCOL A5, last rule).
///
/// But for its flag the header is all zero. The Go library looks at the flag alone, and so do we where a CONNECT names our own
/// version; of any version, one random datagram in 512 would be one.
pub(crate) fn parse_bare(datagram: &[u8]) -> Option<BareControl> {
    let (header, len) = PacketHeader::decode(datagram).ok()?;
    let (whole, flagged) = (looks_bare(datagram), header.flags.contains(PacketFlags::CONTROL));
    match Control::decode(datagram.get(len..)?).ok()?.0 {
        Control::Connect(connect) if whole || flagged && connect.version == PROTOCOL_VERSION => {
            Some(BareControl::Connect(connect))
        }
        _ if !whole => None,
        Control::Challenge(challenge) => Some(BareControl::Challenge(challenge)),
        Control::VersionMismatch(mismatch) => Some(BareControl::VersionMismatch(mismatch)),
        Control::Reject(reject) => Some(BareControl::Reject(reject)),
        _ => None,
    }
}

/// Whether a datagram wears the control flag: what then fails to parse is a malformed handshake.
pub(crate) fn looks_bare(datagram: &[u8]) -> bool {
    datagram.starts_with(&CONTROL_PREFIX)
}
