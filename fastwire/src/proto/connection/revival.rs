//! Client side: asking beside a silent connection whether its server was restarted (PROTOCOL A5).

use std::time::{Duration, Instant};

use crate::proto::client::Challenged;
use crate::proto::handshake::offer::Offer;

/// Silence after which the client asks at the soonest, and how often it does.
pub(crate) const SILENCE: Duration = Duration::from_secs(2);
const REPEAT: Duration = Duration::from_secs(1);
/// After so many unanswered CONNECTs it asks more often: what is left until the connection times out may not bear the loss
/// of one.
const PATIENT: u32 = 4;
const REPEAT_LATE: Duration = Duration::from_millis(250);
/// The old connection gets at least this long to be heard after the server's first CHALLENGE.
const LAST_CALL: Duration = Duration::from_millis(500);
/// How often the client asks meanwhile, and how many CHALLENGEs must come back from a server of ours. That server, if
/// it still had the old connection, would send a packet of it along with each: at 30 % loss and 30 % corruption the
/// chance that 16 of the one kind come through before any of the other is less than one in ten million.
const LAST_CALL_REPEAT: Duration = Duration::from_millis(25);
const ANSWERS: u32 = 16;

/// CONNECTs beside a live connection. Dropped as soon as the old connection is heard again.
pub(crate) struct Revival {
    pub(crate) offer: Offer,
    next_connect: Instant,
    /// CONNECTs sent since the last answer.
    asked: u32,
    answer: Option<Answer>,
}

/// What the server answered.
struct Answer {
    /// The newest CHALLENGE.
    challenge: Challenged,
    /// How many have come.
    count: u32,
    /// When the old connection is given up, at the soonest.
    not_before: Instant,
}

impl Revival {
    pub(crate) fn new(offer: Offer, now: Instant) -> Self {
        Self { offer, next_connect: now, asked: 0, answer: None }
    }

    /// Time passed in which nobody could answer: asks anew, and forgets what was answered.
    pub(crate) fn start_over(&mut self, now: Instant) {
        self.next_connect = now;
        self.asked = 0;
        self.answer = None;
    }

    /// Whether a CONNECT is due.
    pub(crate) fn due(&mut self, now: Instant) -> bool {
        let due = now >= self.next_connect;
        if due {
            self.asked += 1;
            let waiting = if self.asked > PATIENT { REPEAT_LATE } else { REPEAT };
            self.next_connect = now + if self.answer.is_some() { LAST_CALL_REPEAT } else { waiting };
        }
        due
    }

    /// Takes a CHALLENGE of the server, if it answers this offer: from the first on the old connection has its last call. It lasts 3 RTO, but no
    /// longer than half the time left until `end`, when the connection times out: the RTO may be the work of a packet
    /// that somebody held back, and a verdict after the end would come too late.
    pub(crate) fn handle_challenge(
        &mut self,
        challenge: &Challenged,
        rto: Duration,
        end: Instant,
        now: Instant,
    ) -> bool {
        if let Challenged::Extended(extended) = challenge
            && !self.offer.has_nonce(&extended.trailer.client_nonce)
        {
            return false;
        }
        match &mut self.answer {
            Some(answer) => {
                answer.challenge = challenge.clone();
                answer.count += 1;
            }
            None => {
                let most = end.saturating_duration_since(now) / 2;
                let not_before = now + (rto * 3).min(most).max(LAST_CALL);
                self.answer = Some(Answer { challenge: challenge.clone(), count: 1, not_before });
                self.next_connect = now;
            }
        }
        true
    }

    /// The CHALLENGE to go on with, once the old connection stayed silent to its last call. `own`: its server was
    /// one of ours.
    pub(crate) fn verdict(&self, own: bool, now: Instant) -> Option<&Challenged> {
        let enough = if own { ANSWERS } else { 1 };
        let silent = |answer: &&Answer| answer.count >= enough && now >= answer.not_before;
        self.answer.as_ref().filter(silent).map(|answer| &answer.challenge)
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        self.next_connect
    }
}

#[cfg(test)]
mod tests {
    use fastwire_crypto::KeyPair;
    use fastwire_wire::{Challenge, Features, PROTOCOL_VERSION};

    use super::*;
    use crate::ClientConfig;

    fn revival(now: Instant) -> Revival {
        let config = ClientConfig::default().common().expect("valid");
        Revival::new(Offer::new(&config, KeyPair::from_secret([3; 32]), None), now)
    }

    const CHALLENGE: Challenged = Challenged::Base(Challenge {
        version: PROTOCOL_VERSION,
        application_version: 0,
        public_key: [1; 32],
        token: [2; 32],
        cipher: 1,
        compression_ack: 0,
        features: Features::EMPTY,
        migration_token: None,
    });

    #[test]
    fn the_last_call_ends_before_the_connection_whatever_the_rto() {
        let start = Instant::now();
        let end = start + Duration::from_secs(8);
        for rto in [50, 500, 3_800, 5_000].map(Duration::from_millis) {
            let mut revival = revival(start);
            revival.handle_challenge(&CHALLENGE, rto, end, start);
            let gone = start + (rto * 3).clamp(LAST_CALL, Duration::from_secs(4));
            assert!(revival.verdict(false, gone - Duration::from_millis(1)).is_none(), "{rto:?}");
            assert!(revival.verdict(false, gone).is_some(), "{rto:?}");
        }
    }

    #[test]
    fn a_server_of_ours_is_given_up_only_after_many_challenges_and_silence() {
        let start = Instant::now();
        let end = start + Duration::from_secs(8);
        let rto = Duration::from_millis(60);
        let mut revival = revival(start);
        let mut asked = 0;
        for ms in 0..5_000 {
            let now = start + Duration::from_millis(ms);
            if !revival.due(now) {
                continue;
            }
            asked += 1;
            revival.handle_challenge(&CHALLENGE, rto, end, now);
            let gone = now.saturating_duration_since(start) >= LAST_CALL;
            assert_eq!(revival.verdict(true, now).is_some(), gone && asked >= ANSWERS, "after {ms} ms");
            assert_eq!(revival.verdict(false, now).is_some(), gone, "after {ms} ms");
        }
        assert!(asked > ANSWERS);
    }
}
