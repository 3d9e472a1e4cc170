//! What an application may ask for a single message, and what it is told of it.

use std::fmt;
use std::time::Duration;

use crate::reliability::MessageFate;

/// What to ask for one message, beside its channel. Without any of it, `send` does the same.
///
/// ```
/// use std::time::Duration;
/// use fastwire::SendOptions;
///
/// // Worth nothing after 100 ms; and tell what became of it.
/// let shot = SendOptions::new().expires_after(Duration::from_millis(100)).receipt();
/// # let _ = shot;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendOptions {
    pub(crate) receipt: bool,
    pub(crate) expires_after: Option<Duration>,
    pub(crate) uncompressed: bool,
    pub(crate) stamped: bool,
    /// The name of the receipt, where a handle has given it already.
    pub(crate) id: Option<ReceiptId>,
}

impl SendOptions {
    /// Nothing special.
    pub const fn new() -> Self {
        Self { receipt: false, expires_after: None, uncompressed: false, stamped: false, id: None }
    }

    /// Asks to be told what becomes of the message: one [`Receipt`], once, before the connection's `Disconnected`. On
    /// unreliable channels that needs an established connection of the extended profile.
    #[must_use]
    pub const fn receipt(mut self) -> Self {
        self.receipt = true;
        self
    }

    /// Drops the message if so much time has passed and none of it has left, counted from when the endpoint takes it: from now,
    /// or from the turn in which it takes what handles have queued.
    #[must_use]
    pub const fn expires_after(mut self, time: Duration) -> Self {
        self.expires_after = Some(time);
        self
    }

    /// Never compresses the message: for secrets that stand beside text an attacker may choose, whose compressed size would give
    /// them away.
    #[must_use]
    pub const fn uncompressed(mut self) -> Self {
        self.uncompressed = true;
        self
    }

    /// Tells the receiver when the message was sent, by the server's clock: it costs 7 bytes, and the receiver asks for the
    /// [`MessageTime`](crate::proto::MessageTime). In the extended profile with `clock_sync` on both sides; a message for which
    /// there is no time that both know, as before a client has first heard what time it is, goes without. The time is
    /// that of the call, or of the turn in which the endpoint takes what handles have queued.
    #[must_use]
    pub const fn stamped(mut self) -> Self {
        self.stamped = true;
        self
    }
}

/// Names a message whose sender asked for a receipt. Unique among all of one endpoint's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReceiptId(pub(crate) u64);

impl ReceiptId {
    /// The `n`-th that an endpoint gives.
    pub(crate) const fn of_endpoint(n: u64) -> Self {
        Self(n << 1)
    }

    /// The `n`-th that an endpoint's handles give.
    pub(crate) const fn of_handle(n: u64) -> Self {
        Self(n << 1 | 1)
    }
}

impl fmt::Display for ReceiptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What became of a message whose sender asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Receipt {
    /// What `send_with` gave.
    pub id: ReceiptId,
    /// The message's channel.
    pub channel: u8,
    /// What became of it.
    pub fate: MessageFate,
}
