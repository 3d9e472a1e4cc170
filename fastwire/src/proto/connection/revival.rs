//! Client side: asking beside a silent connection whether its server was restarted (PROTOCOL A5).

use std::time::{Duration, Instant};

use fastwire_crypto::KeyPair;
use fastwire_wire::Challenge;

/// Silence after which the client asks, and how often it does.
pub(crate) const SILENCE: Duration = Duration::from_secs(2);
const REPEAT: Duration = Duration::from_secs(1);
/// The old connection gets at least this long to answer a heartbeat after the server's CHALLENGE.
const LAST_CALL: Duration = Duration::from_millis(500);

/// CONNECTs beside a live connection. Dropped as soon as the old connection is heard again.
pub(crate) struct Revival {
    pub(crate) keys: KeyPair,
    next_connect: Instant,
    /// The server's answer, and when the old connection is given up.
    answer: Option<(Challenge, Instant)>,
}

impl Revival {
    pub(crate) fn new(keys: KeyPair, now: Instant) -> Self {
        Self { keys, next_connect: now, answer: None }
    }

    /// Whether a CONNECT is due.
    pub(crate) fn due(&mut self, now: Instant) -> bool {
        let due = now >= self.next_connect && self.answer.is_none();
        if due {
            self.next_connect = now + REPEAT;
        }
        due
    }

    /// Takes the server's CHALLENGE: from now on the old connection has its last call.
    pub(crate) fn handle_challenge(&mut self, challenge: &Challenge, rto: Duration, now: Instant) {
        if self.answer.is_none() {
            self.answer = Some((*challenge, now + LAST_CALL.max(rto * 3)));
        }
    }

    /// The CHALLENGE to go on with, once the old connection stayed silent to its last call.
    pub(crate) fn verdict(&self, now: Instant) -> Option<&Challenge> {
        self.answer.as_ref().filter(|(_, at)| now >= *at).map(|(challenge, _)| challenge)
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        self.answer.as_ref().map_or(self.next_connect, |(_, at)| *at)
    }
}
