//! A message that waits to be sent: short ones lie in the queue itself, where nobody counts who else has them.

use std::ops::Deref;

use bytes::Bytes;

/// The longest message that [`push_small`](super::ExtendedChannels::push_small) takes.
pub const SMALL_MESSAGE: usize = 71;

/// The bytes of a message that waits.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    Shared(Bytes),
    Small { len: u8, bytes: [u8; SMALL_MESSAGE] },
}

impl Held {
    /// A copy; `None` if it is too long for one.
    #[inline]
    pub(crate) fn small(message: &[u8]) -> Option<Self> {
        let mut bytes = [0; SMALL_MESSAGE];
        bytes.get_mut(..message.len())?.copy_from_slice(message);
        Some(Self::Small { len: message.len() as u8, bytes })
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Small { .. } => Bytes::copy_from_slice(&self),
        }
    }
}

impl Deref for Held {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Small { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_held_is_the_message(message in prop::collection::vec(any::<u8>(), 0..100)) {
            let small = Held::small(&message);
            prop_assert_eq!(small.is_some(), message.len() <= SMALL_MESSAGE);
            for held in [small, Some(Held::Shared(message.clone().into()))].into_iter().flatten() {
                prop_assert_eq!(&held[..], &message[..]);
                prop_assert_eq!(held.into_bytes(), &message);
            }
        }
    }
}
