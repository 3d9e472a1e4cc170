//! A live view of a server's connections, busiest first: redrawn each second on a terminal, printed each second elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use fastwire::{ConnectionHandle, ConnectionState, ConnectionStats, Profile, ServerHandle};

/// How often it is renewed.
const INTERVAL: Duration = Duration::from_secs(1);
/// Connections shown; the others are counted.
const MOST: usize = 30;

/// What is shown of one connection.
#[derive(Debug, Clone, Default)]
struct Row {
    peer: String,
    profile: Option<Profile>,
    state: Option<ConnectionState>,
    stats: ConnectionStats,
}

impl Row {
    fn of(peer: &ConnectionHandle) -> Self {
        let name = peer.remote_addr().map_or_else(|| peer.id().to_string(), |address| address.to_string());
        Self { peer: name, profile: peer.profile(), state: Some(peer.state()), stats: peer.stats() }
    }

    fn rate(&self) -> f64 {
        self.stats.send_bandwidth + self.stats.recv_bandwidth
    }

    fn line(&self) -> String {
        let stats = &self.stats;
        let profile = match self.profile {
            Some(Profile::Base) => "base",
            Some(Profile::Extended) => "extended",
            None => "-",
        };
        let state = match self.state {
            Some(ConnectionState::Connected) => "up",
            Some(ConnectionState::Connecting) => "joining",
            Some(ConnectionState::Disconnecting) => "leaving",
            Some(ConnectionState::Disconnected) | None => "gone",
        };
        let window = stats.congestion_window.map_or("any".to_owned(), |packets| packets.to_string());
        format!(
            "{:<24} {profile:<8} {state:<7} {:>7} {:>6} {:>8} {:>8} {:>8} {window:>6} {:>5} {:>6}",
            self.peer,
            format!("{:.1}", stats.rtt.as_secs_f64() * 1e3),
            format!("{:.1}", stats.packet_loss * 100.0),
            format!("{:.1}", stats.send_bandwidth / 1e3),
            format!("{:.1}", stats.recv_bandwidth / 1e3),
            format!("{:.1}", stats.send_queue_bytes as f64 / 1e3),
            stats.path_mtu,
            stats.retransmits,
        )
    }
}

/// The table: a line of sums, a heading, and a line for each connection, busiest first.
fn table(mut rows: Vec<Row>) -> Vec<String> {
    rows.sort_by(|a, b| b.rate().total_cmp(&a.rate()).then_with(|| a.peer.cmp(&b.peer)));
    let up = rows.iter().filter(|row| row.state == Some(ConnectionState::Connected)).count();
    let sum = |value: fn(&Row) -> f64| rows.iter().map(value).sum::<f64>() / 1e3;
    let mut lines = vec![
        format!(
            "{up} connected; sending {:.1} kB/s, receiving {:.1} kB/s, {:.1} kB queued",
            sum(|row| row.stats.send_bandwidth),
            sum(|row| row.stats.recv_bandwidth),
            sum(|row| row.stats.send_queue_bytes as f64),
        ),
        format!(
            "{:<24} {:<8} {:<7} {:>7} {:>6} {:>8} {:>8} {:>8} {:>6} {:>5} {:>6}",
            "peer",
            "profile",
            "state",
            "rtt ms",
            "loss %",
            "out kB/s",
            "in kB/s",
            "queue kB",
            "window",
            "mtu",
            "again"
        ),
    ];
    let hidden = rows.len().saturating_sub(MOST);
    lines.extend(rows.iter().take(MOST).map(Row::line));
    if hidden > 0 {
        lines.push(format!("and {hidden} more, quieter"));
    }
    lines
}

/// The view, and what of it stands on the terminal.
pub(crate) struct Top {
    redraws: bool,
    drawn: usize,
    shown: Option<Instant>,
}

impl Top {
    pub(crate) fn new() -> Self {
        Self { redraws: io::stdout().is_terminal(), drawn: 0, shown: None }
    }

    /// Shows how the server's connections stand, if a second has passed.
    pub(crate) fn show(&mut self, server: &ServerHandle) -> io::Result<()> {
        if self.shown.is_some_and(|shown| shown.elapsed() < INTERVAL) {
            return Ok(());
        }
        self.shown = Some(Instant::now());
        let peers = server.connections().into_iter().filter_map(|id| server.connection(id));
        self.draw(&mut io::stdout().lock(), &table(peers.map(|peer| Row::of(&peer)).collect()))
    }

    fn draw(&mut self, out: &mut impl Write, lines: &[String]) -> io::Result<()> {
        if self.redraws && self.drawn > 0 {
            // up to where it began, and everything below away
            write!(out, "\x1b[{}A\x1b[J", self.drawn)?;
        }
        for line in lines {
            writeln!(out, "{line}")?;
        }
        if !self.redraws {
            writeln!(out)?;
        }
        self.drawn = lines.len();
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: &str, rate: f64) -> Row {
        let mut stats = ConnectionStats::default();
        (stats.rtt, stats.packet_loss, stats.path_mtu) = (Duration::from_micros(12_340), 0.05, 1200);
        (stats.send_bandwidth, stats.recv_bandwidth, stats.send_queue_bytes) = (rate, rate / 2.0, 5000);
        (stats.congestion_window, stats.retransmits) = (Some(64), 7);
        Row {
            peer: peer.into(),
            profile: Some(Profile::Extended),
            state: Some(ConnectionState::Connected),
            stats,
        }
    }

    #[test]
    fn every_figure_stands_under_its_heading() {
        let mut base = row("[2001:db8::1]:7777", 1e6);
        (base.profile, base.stats.congestion_window) = (Some(Profile::Base), None);
        let lines = table(vec![row("10.0.0.1:50000", 2000.0), base]);
        assert_eq!(lines.len(), 4);
        assert!(
            lines[0].starts_with("2 connected; sending 1002.0 kB/s, receiving 501.0 kB/s, 10.0 kB queued")
        );
        let headings =
            ["peer", "profile", "state", "rtt ms", "loss %", "out kB/s", "in kB/s", "queue kB", "window"];
        let cells = ["10.0.0.1:50000", "extended", "up", "12.3", "5.0", "2.0", "1.0", "5.0", "64"];
        for (heading, cell) in headings.into_iter().zip(cells) {
            let at = lines[1].find(heading).expect("a heading");
            // Words begin together, figures end together.
            let place = if at < 41 {
                at..at + cell.len()
            } else {
                at + heading.len() - cell.len()..at + heading.len()
            };
            assert_eq!(&lines[3][place], cell, "under {heading}: {}", lines[3]);
        }
        assert!(lines[2].starts_with("[2001:db8::1]:7777") && lines[2].contains(" any "), "busiest first");
        assert!(lines.iter().skip(1).all(|line| line.len() == lines[1].len()), "one width");
    }

    #[test]
    fn a_crowd_is_cut_and_counted() {
        let lines = table((0..100).map(|n| row(&format!("10.0.0.{n}:1"), f64::from(n))).collect());
        assert_eq!(lines.len(), 2 + MOST + 1);
        assert_eq!(lines.last().map(String::as_str), Some("and 70 more, quieter"));
    }

    #[test]
    fn a_terminal_is_redrawn_and_a_file_gets_plain_text() {
        let lines = table(vec![row("10.0.0.1:1", 1.0)]);
        for redraws in [true, false] {
            let mut top = Top { redraws, drawn: 0, shown: None };
            let mut out = Vec::new();
            top.draw(&mut out, &lines).expect("drawn");
            top.draw(&mut out, &lines).expect("drawn");
            let text = String::from_utf8(out).expect("text");
            assert_eq!(text.matches("\x1b[3A\x1b[J").count(), usize::from(redraws));
            assert_eq!(text.matches('\x1b').count(), if redraws { 2 } else { 0 });
            assert_eq!(text.matches("10.0.0.1:1").count(), 2);
        }
    }
}
