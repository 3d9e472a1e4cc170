//! One arriving datagram.

use super::segment::{Command, HEADER_LEN, Header, distance};
use super::settings::MAX_PENDING_ACKS;
use super::{Kcp, policy, settings};

/// Where a datagram's bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The network.
    Direct,
    /// An error correction brought it back: late, so it says nothing of round trips or of the window now.
    Recovered,
}

/// Why a datagram was not, or not wholly, taken. Segments before the faulty one were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// No room for one header.
    #[error("datagram of {len} bytes is shorter than a header")]
    Short {
        /// Length in bytes.
        len: usize,
    },
    /// A segment of another conversation.
    #[error("segment of conversation {found}, this one is {expected}")]
    Conv {
        /// Number found.
        found: u32,
        /// Number of this conversation.
        expected: u32,
    },
    /// A command that is none.
    #[error("unknown command {command}")]
    Command {
        /// The byte found.
        command: u8,
    },
    /// A segment that claims more data than the datagram holds.
    #[error("segment claims {claimed} bytes of data, {left} are left")]
    Length {
        /// Bytes claimed.
        claimed: u32,
        /// Bytes left.
        left: usize,
    },
}

/// What the acknowledgements of one datagram said.
#[derive(Debug, Default)]
struct Seen {
    /// The greatest number acknowledged and the time it was sent.
    greatest: Option<(u32, u32)>,
    /// Time of the last ACK, for the one sample of a datagram.
    last_ts: Option<u32>,
}

impl Kcp {
    /// Takes a datagram that arrived at `now` (ms, wrapping). Nothing is sent from here: call
    /// [`update`](Self::update) after the last datagram of a batch.
    ///
    /// # Errors
    /// [`InputError`]; count it and go on.
    pub fn input(&mut self, now: u32, datagram: &[u8], origin: Origin) -> Result<(), InputError> {
        if datagram.len() < HEADER_LEN {
            return Err(InputError::Short { len: datagram.len() });
        }
        let rules = self.config.timing.rules();
        if !rules.clock_of_update {
            self.now = self.extend(now);
        }
        let una_before = self.flight.first();
        let mut seen = Seen::default();
        let mut rest = datagram;
        while let Some((head, tail)) = rest.split_first_chunk::<HEADER_LEN>() {
            let conv = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            if conv != self.conv {
                return Err(InputError::Conv { found: conv, expected: self.conv });
            }
            let claimed = u32::from_le_bytes([head[20], head[21], head[22], head[23]]);
            let Some((data, tail)) = usize::try_from(claimed).ok().and_then(|len| tail.split_at_checked(len))
            else {
                return Err(InputError::Length { claimed, left: tail.len() });
            };
            let header = Header::decode(head).ok_or(InputError::Command { command: head[4] })?;
            self.take_segment(&header, data, origin, &mut seen);
            rest = tail;
        }
        if origin == Origin::Direct && rules.one_sample_a_datagram {
            seen.last_ts.into_iter().for_each(|ts| self.sample_rtt(ts));
        }
        if !rules.every_ack_counts
            && let Some((sn, ts)) = seen.greatest
        {
            self.flight.count_skips(sn, ts, &policy(&self.config));
        }
        if distance(self.flight.first(), una_before) > 0 {
            self.cwnd.on_ack(settings::mss(self.config.mtu), self.remote_window);
            self.urgent |= self.outbox.len() > 0;
        }
        self.urgent |= self.acks_are_urgent() || self.flight.has_skipped(&policy(&self.config));
        Ok(())
    }

    fn take_segment(&mut self, header: &Header, data: &[u8], origin: Origin, seen: &mut Seen) {
        self.stats.in_segments += 1;
        if origin == Origin::Direct {
            let window = u32::from(header.wnd);
            self.urgent |= self.remote_window == 0 && window > 0 && self.outbox.len() > 0;
            self.remote_window = window;
        }
        self.flight.acknowledge_before(header.una, |data| self.pool.give(data));
        match header.cmd {
            Command::Ack => self.take_ack(header.sn, header.ts, seen),
            Command::Push => self.take_push(header, data),
            Command::Wask => {
                self.owes_window = true;
                self.urgent = true;
            }
            Command::Wins => {}
        }
    }

    fn take_ack(&mut self, sn: u32, ts: u32, seen: &mut Seen) {
        let rules = self.config.timing.rules();
        if !rules.one_sample_a_datagram {
            self.sample_rtt(ts);
        }
        seen.last_ts = Some(ts);
        let freed = self.flight.acknowledge(sn, |data| self.pool.give(data));
        if rules.every_ack_counts {
            // Only what was in flight until now tells anything: a repeated ACK must not count twice.
            if freed {
                self.flight.count_skips(sn, ts, &policy(&self.config));
            }
            return;
        }
        let newer = |(kept, kept_ts)| distance(sn, kept) > 0 && distance(ts, kept_ts) > 0;
        if seen.greatest.is_none_or(newer) {
            seen.greatest = Some((sn, ts));
        }
    }

    fn take_push(&mut self, header: &Header, data: &[u8]) {
        if !self.inbox.is_before_end(header.sn) {
            return;
        }
        if self.acks.len() < MAX_PENDING_ACKS {
            if self.acks.is_empty() {
                self.acks_since = self.now;
            }
            self.acks.push((header.sn, header.ts));
        }
        let later = self.newest_push.is_none_or(|newest| distance(header.ts, newest) > 0);
        if later {
            self.newest_push = Some(header.ts);
        }
        if !self.inbox.accept(header.sn, header.frg, data, &self.pool) {
            self.stats.repeated += 1;
            // Sent again, not twice: the answer to it was lost, and this one may be too.
            let covered = distance(header.sn, self.inbox.next()) < 0;
            if later && covered && self.config.timing.rules().answers_again {
                self.answer_again = Some(self.now + i64::from(self.config.nodelay.interval));
            }
        }
    }

    /// `ts` was sent by this end and came back now. A time in the future is a lie.
    fn sample_rtt(&mut self, ts: u32) {
        if let Ok(rtt) = u32::try_from(distance(self.now as u32, ts)) {
            self.rtt.sample(rtt, self.config.nodelay.interval, self.config.timing.rules());
        }
    }

    fn acks_are_urgent(&self) -> bool {
        let fill_a_datagram = self.acks.len() >= self.config.mtu / HEADER_LEN;
        fill_a_datagram || self.config.ack_no_delay && !self.acks.is_empty()
    }
}
