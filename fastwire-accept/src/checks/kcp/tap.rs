//! What passed on a line between two KCP ends, kept to explain why nothing arrives any more.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use fastwire_kcp::core::{Command, HEADER_LEN, Header};

use crate::relay::Passing;

/// Datagrams of each direction that are shown.
const SHOWN: usize = 12;
/// Segments of which transmissions are kept; no window here is larger.
const KEPT: usize = 4096;
/// After a segment should have come again at the latest.
const SLACK: Duration = Duration::from_secs(1);

/// Both directions of a line.
#[derive(Default)]
pub(super) struct Tap {
    up: Direction,
    down: Direction,
}

/// What one end sent.
#[derive(Default)]
struct Direction {
    /// The transmissions of each data segment whose acknowledgement has not passed yet: when, and whether the line dropped it or an
    /// answer to it.
    unacknowledged: BTreeMap<u32, Vec<(Instant, bool)>>,
    /// All before it was acknowledged, and that passed.
    told: u32,
    /// The window that was told this end last.
    window: Option<u16>,
    /// The latest datagrams in words.
    latest: VecDeque<(Instant, bool, String)>,
    datagrams: u64,
}

impl Tap {
    /// Takes note of a datagram. Numbers are taken not to wrap.
    pub(super) fn take(&mut self, passing: &Passing<'_>) {
        let (from, to) =
            if passing.up { (&mut self.up, &mut self.down) } else { (&mut self.down, &mut self.up) };
        let mut words = String::new();
        let mut rest = passing.datagram;
        while let Some((head, tail)) = rest.split_first_chunk::<HEADER_LEN>() {
            let Some(header) = Header::decode(head) else {
                words.push_str(" unknown");
                break;
            };
            describe(&header, &mut words);
            if header.cmd == Command::Push {
                from.transmitted(header.sn, passing);
            }
            to.answered(&header, passing.dropped);
            rest = tail.get(header.len as usize..).unwrap_or_default();
        }
        from.datagrams += 1;
        from.latest.push_back((passing.at, passing.dropped, words));
        if from.latest.len() > SHOWN {
            from.latest.pop_front();
        }
    }

    /// Until when the sender of data in this direction may be silent by its own rules: its oldest segment, or the answer to it, was
    /// dropped again and again, and each time it waits twice as long. `None` when nothing excuses it.
    pub(super) fn excuse(&self, up: bool) -> Option<Instant> {
        let direction = if up { &self.up } else { &self.down };
        let (_, oldest) = direction.unacknowledged.first_key_value()?;
        let [.., (before, _), (last, true)] = oldest[..] else { return None };
        Some(last + 2 * last.duration_since(before) + SLACK)
    }
}

impl Direction {
    fn transmitted(&mut self, sn: u32, passing: &Passing<'_>) {
        if sn >= self.told && (self.unacknowledged.len() < KEPT || self.unacknowledged.contains_key(&sn)) {
            self.unacknowledged.entry(sn).or_default().push((passing.at, passing.dropped));
        }
    }

    fn answered(&mut self, header: &Header, dropped: bool) {
        let acknowledges = |sn| sn < header.una || header.cmd == Command::Ack && sn == header.sn;
        if dropped {
            let mine = self.unacknowledged.iter_mut().filter(|(sn, _)| acknowledges(**sn));
            mine.for_each(|(_, sent)| sent.iter_mut().for_each(|(_, lost)| *lost = true));
            return;
        }
        self.window = Some(header.wnd);
        if header.una > self.told {
            self.told = header.una;
            self.unacknowledged = self.unacknowledged.split_off(&self.told);
        }
        if header.cmd == Command::Ack {
            self.unacknowledged.remove(&header.sn);
        }
    }

    fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ago = |at: &Instant| format!("-{:.3} s", at.elapsed().as_secs_f64());
        writeln!(
            f,
            "{name}: {} datagrams; acknowledged up to {}, window {:?}, {} segments unacknowledged",
            self.datagrams,
            self.told,
            self.window,
            self.unacknowledged.len(),
        )?;
        if let Some((sn, sent)) = self.unacknowledged.first_key_value() {
            let sent = sent
                .iter()
                .map(|(at, lost)| ago(at) + if *lost { " (it or its answer dropped)" } else { "" });
            writeln!(f, "  segment {sn} was sent at {}", sent.collect::<Vec<_>>().join(", "))?;
        }
        for (at, dropped, words) in &self.latest {
            writeln!(f, "  {}{}{words}", ago(at), if *dropped { " dropped" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.up.describe("client to server", f)?;
        self.down.describe("server to client", f)
    }
}

fn describe(header: &Header, words: &mut String) {
    let Header { conv, cmd, frg, wnd, ts, sn, una, len } = header;
    let cmd = match cmd {
        Command::Push => "push",
        Command::Ack => "ack",
        Command::Wask => "wask",
        Command::Wins => "wins",
    };
    // Writing to a string cannot fail.
    let _ = write!(words, " [{cmd} {sn} frg {frg} ts {ts} una {una} wnd {wnd} len {len} conv {conv:x}]");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(cmd: Command, sn: u32, una: u32) -> [u8; HEADER_LEN] {
        Header { conv: 1, cmd, frg: 0, wnd: 9, ts: 0, sn, una, len: 0 }.encode()
    }

    /// A sender that doubles its waits is excused for as long as it says, one that has nothing unacknowledged never.
    #[test]
    fn doubled_waits_are_an_excuse_and_silence_is_none() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut tap = Tap::default();
        let push = |tap: &mut Tap, ms, sn| {
            let datagram = &datagram(Command::Push, sn, 0);
            tap.take(&Passing { at: at(ms), up: true, dropped: sn == 5, datagram });
        };
        push(&mut tap, 0, 4);
        push(&mut tap, 0, 5);
        assert_eq!(tap.excuse(true), None, "sent once");
        push(&mut tap, 400, 5);
        assert_eq!(tap.excuse(true), None, "the oldest was sent once");
        push(&mut tap, 400, 4);
        assert_eq!(tap.excuse(true), None, "nothing of the oldest was dropped");
        let told = datagram(Command::Wins, 0, 5);
        tap.take(&Passing { at: at(500), up: false, dropped: true, datagram: &told });
        assert_eq!(tap.excuse(true), Some(at(1200) + SLACK), "the answer was dropped");
        tap.take(&Passing { at: at(500), up: false, dropped: false, datagram: &told });
        assert_eq!(tap.excuse(true), Some(at(1200) + SLACK), "it is 5 now, which was dropped");
        assert_eq!(tap.excuse(false), None);
        let told = datagram(Command::Ack, 5, 5);
        tap.take(&Passing { at: at(600), up: false, dropped: false, datagram: &told });
        assert_eq!(tap.excuse(true), None, "all is acknowledged");
        assert!(tap.to_string().contains("acknowledged up to 5, window Some(9), 0 segments"));
    }
}
