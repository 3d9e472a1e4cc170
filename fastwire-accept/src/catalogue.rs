//! Every line of `docs/acceptance.md`, built or not: its identifier, title and profiles.

use crate::check::Profile;

/// A line of the tables.
#[derive(Debug)]
pub struct Line {
    /// Its letter and number.
    pub id: &'static str,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// The profiles it must hold for.
    pub profiles: &'static [Profile],
}

const BOTH: &[Profile] = &[Profile::Base, Profile::Extended];
const BASE: &[Profile] = &[Profile::Base];
const EXTENDED: &[Profile] = &[Profile::Extended];
const ALL: &[Profile] = &[Profile::Base, Profile::Extended, Profile::Either];
const EITHER: &[Profile] = &[Profile::Either];

/// All lines, in the order of the tables.
pub const LINES: &[Line] = &[
    line("R1", BOTH, "simulator matrix: loss, bursts, reordering, duplication, corruption, delay, queue"),
    line("R2", BOTH, "connecting at 30 % loss and at 30 % corruption"),
    line("R3", BOTH, "black holes, an 8 s outage, a step of the round-trip time"),
    line("R4", BOTH, "large messages and a million small ones"),
    line("R5", BOTH, "socket errors"),
    line("R6", BOTH, "clock jumps and a loading screen"),
    line("R7", BOTH, "restarts on the same port"),
    line("R8", EXTENDED, "NAT rebinding during a transfer"),
    line("R9", ALL, "30 virtual days over every wrap point; an hour of soak"),
    line("R10", BASE, "recorded conversations and a weak base peer"),
    line("E4", BASE, "what kills other implementations of the base profile"),
    line("S1", BOTH, "CONNECT flood, garbage and replays beside 100 clients"),
    line("S2", BOTH, "RESPONSE flood from one prefix"),
    line("S3", BOTH, "amplification"),
    line("S4", BOTH, "memory: idle connections and hostile peers"),
    line("S5", EXTENDED, "a man in the middle of the handshake"),
    line("S6", BOTH, "spoofed migrations"),
    line("S7", BOTH, "no nonce twice"),
    line("S8", EXTENDED, "the veil looks like noise"),
    line("S9", EITHER, "fuzzing of parsers and state machines"),
    line("S10", EXTENDED, "optimistic acknowledgements and credit overruns"),
    line("S11", EITHER, "standard and recorded vectors"),
    line("S12", EITHER, "mutation testing"),
    line("P1", BOTH, "bulk"),
    line("P2", BOTH, "messages a second"),
    line("P3", BOTH, "round trip"),
    line("P4", BOTH, "fan-out"),
    line("P5", BOTH, "latency under loss"),
    line("P6", BOTH, "bulk under loss through a bottleneck"),
    line("P7", BOTH, "handshakes"),
    line("P8", BOTH, "memory and allocations"),
    line("P9", BOTH, "the cost of each layer"),
    line("K1", EITHER, "KCP: recorded bytes"),
    line("K2", EITHER, "KCP: live against tokio_kcp"),
    line("K3", EITHER, "KCP: side by side over a lossy relay"),
    line("K4", EITHER, "KCP: 5000 sessions"),
    line("K5", EITHER, "KCP: throughput and the cost of flush"),
    line("U1", EITHER, "README's first command"),
    line("U2", EITHER, "README's second command"),
    line("U3", EITHER, "each leaf crate as the only dependency"),
    line("U4", EITHER, "a controller of one's own"),
    line("U5", EITHER, "one program in a game loop, on a thread, and async"),
    line("U6", EITHER, "every documented name and default"),
];

const fn line(id: &'static str, profiles: &'static [Profile], title: &'static str) -> Line {
    Line { id, title, profiles }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks;

    #[test]
    fn every_check_belongs_to_a_line_and_its_profiles() {
        for check in checks::all() {
            let line = LINES.iter().find(|line| line.id == check.id());
            let line = line.unwrap_or_else(|| panic!("{} is in no table", check.id()));
            assert!(!check.profiles().is_empty(), "{}: no profile", line.id);
            assert!(check.profiles().iter().all(|profile| line.profiles.contains(profile)), "{}", line.id);
        }
    }

    #[test]
    fn the_document_has_the_same_lines_in_the_same_order() {
        let document = include_str!("../../docs/acceptance.md");
        let rows = document.lines().filter_map(|row| row.strip_prefix("| ")?.split(' ').next());
        let documented: Vec<_> = rows.filter(|id| id.ends_with(|c: char| c.is_ascii_digit())).collect();
        assert_eq!(documented, LINES.iter().map(|line| line.id).collect::<Vec<_>>());
    }
}
