//! Shows what happens: a panel that is redrawn on a terminal, plain lines everywhere else.

use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};

use fastwire::{ConnectionHandle, ConnectionState, ConnectionStats};

use crate::game::{LANES, Player, Score};

/// What this process sees of the game.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// Server and clients.
    BothEnds,
    /// The server alone.
    Server,
    /// A client alone.
    Client,
}

/// One connection's line.
pub(crate) struct Line {
    name: String,
    connected: bool,
    stats: ConnectionStats,
}

impl Line {
    pub(crate) fn of_player(player: &Player) -> Self {
        Self {
            name: player.name.to_owned(),
            connected: player.client.state() == ConnectionState::Connected,
            stats: player.client.stats().unwrap_or_default(),
        }
    }

    pub(crate) fn of_peer(peer: &ConnectionHandle) -> Self {
        let name = peer.remote_addr().map_or_else(|| peer.id().to_string(), |address| address.to_string());
        Self { name, connected: peer.state() == ConnectionState::Connected, stats: peer.stats() }
    }
}

/// Where it is shown.
pub(crate) struct Panel {
    view: View,
    /// Redrawn in place; otherwise a line now and then.
    redraws: bool,
    /// Lines of the panel that stand on the terminal.
    drawn: usize,
    started: Instant,
    shown: Option<Instant>,
}

impl Panel {
    pub(crate) fn new(view: View) -> Self {
        Self { view, redraws: stdout().is_terminal(), drawn: 0, started: Instant::now(), shown: None }
    }

    /// Shows how things stand, if it is time again.
    pub(crate) fn show(&mut self, score: &Score, lines: impl FnOnce() -> Vec<Line>) {
        let pause = Duration::from_millis(if self.redraws { 100 } else { 1000 });
        if self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        self.shown = Some(Instant::now());
        let lines = lines();
        if self.redraws { self.draw(score, &lines) } else { println!("{}", self.summary(score, &lines)) }
    }

    /// Shows how things stood at the end, in full.
    pub(crate) fn show_last(&mut self, score: &Score, lines: Vec<Line>) {
        self.draw(score, &lines);
    }

    fn draw(&mut self, score: &Score, lines: &[Line]) {
        let panel = self.panel(score, lines);
        if self.redraws && self.drawn > 0 {
            print!("\x1b[{}A\x1b[J", self.drawn);
        }
        println!("{}", panel.join("\n"));
        self.drawn = panel.len();
    }

    fn panel(&self, score: &Score, lines: &[Line]) -> Vec<String> {
        let mut panel = vec![
            String::new(),
            format!(
                "{:21} {:>12} {:>9} {:>7} {:>11} {:>11}",
                "connection", "", "RTT", "lost", "sends", "receives"
            ),
        ];
        panel.extend(lines.iter().map(|line| {
            let state = if line.connected { "connected" } else { "not yet" };
            let (up, down) = (line.stats.send_bandwidth / 1e3, line.stats.recv_bandwidth / 1e3);
            let (rtt, lost) = (millis(line.stats.rtt), line.stats.packet_loss * 100.0);
            format!(
                "{:21} {state:>12} {rtt:>6.1} ms {lost:>5.1} % {up:>6.1} kB/s {down:>6.1} kB/s",
                line.name
            )
        }));
        panel.push(String::new());
        let [first, second] = match self.view {
            View::BothEnds => ["clients to server", "server to clients"],
            View::Server => ["received", "sent"],
            View::Client => ["sent", "received"],
        };
        panel.push(format!("{:20} {:22} {first:>17} {second:>17}", "delivery mode", "carries"));
        let [(said, heard), (told, learned)] =
            [(&score.said, &score.heard), (&score.told, &score.learned)].map(|(a, b)| (a.get(), b.get()));
        for (index, lane) in LANES.iter().enumerate() {
            let (said, heard, told, learned) = (said[index], heard[index], told[index], learned[index]);
            let [up, down] = match self.view {
                View::BothEnds => [format!("{heard} of {said}"), format!("{learned} of {told}")],
                View::Server => [heard, told].map(|count| count.to_string()),
                View::Client => [said, learned].map(|count| count.to_string()),
            };
            panel.push(format!("{:20} {:22} {up:>17} {down:>17}", lane.mode, lane.carries));
        }
        let chat = score.last_chat();
        if !chat.is_empty() {
            panel.push(format!("\nlast in the chat: {chat}"));
        }
        // A line break inside an entry is a line of its own on the terminal.
        panel.iter().flat_map(|entry| entry.split('\n')).map(str::to_owned).collect()
    }

    /// One plain line.
    fn summary(&self, score: &Score, lines: &[Line]) -> String {
        let connected = lines.iter().filter(|line| line.connected).count();
        let of = |value: fn(&ConnectionStats) -> f64| lines.iter().map(move |line| value(&line.stats));
        let rtt = of(|stats| millis(stats.rtt)).fold(0.0, f64::max);
        let lost = of(|stats| stats.packet_loss * 100.0).fold(0.0, f64::max);
        let rate = of(|stats| stats.send_bandwidth + stats.recv_bandwidth).fold(0.0, |sum, rate| sum + rate);
        let counts = if self.view == View::Client { score.learned.get() } else { score.heard.get() };
        let counts = LANES.iter().zip(counts).map(|(lane, count)| format!("{} {count}", lane.mode));
        format!(
            "{:4.0} s: {connected} connected, RTT up to {rtt:.1} ms, up to {lost:.1} % lost, {:.0} kB/s; arrived: {}",
            self.started.elapsed().as_secs_f64(),
            rate / 1e3,
            counts.collect::<Vec<_>>().join(", "),
        )
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
