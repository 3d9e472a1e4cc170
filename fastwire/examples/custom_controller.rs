//! A congestion controller of one's own: a window in the manner of delay-based TCPs. It shrinks as soon as round
//! trips grow, before anything is lost.

use std::time::{Duration, Instant};

use fastwire::congestion::{
    Acked, Congestion, CongestionController, InFlight, PathChange, PathInfo, Quota, Sent, Window,
};
use fastwire::{Client, Event, Server};

/// Queueing delay to aim at.
const TARGET: Duration = Duration::from_millis(5);

struct DelayBased {
    window: f64,
}

impl CongestionController for DelayBased {
    fn on_sent(&mut self, _: &Sent) {}

    fn on_acked(&mut self, acked: &Acked) {
        if acked.app_limited {
            return;
        }
        let queueing = acked.rtt.latest.saturating_sub(acked.rtt.min);
        // How far from the target, −1 to 1; a whole round trip of it changes the window by that many packets.
        let off = 1.0 - queueing.as_secs_f64() / TARGET.as_secs_f64();
        self.window += off.clamp(-1.0, 1.0) * f64::from(acked.packets) / self.window;
        self.window = self.window.clamp(2.0, 10_000.0);
    }

    fn on_congestion(&mut self, _: &Congestion) {
        self.window = (self.window / 2.0).max(2.0);
    }

    fn on_path_change(&mut self, event: &PathChange) {
        self.window = f64::from(event.path.initial_window_packets).max(2.0);
    }

    fn quota(&self, _: Instant, in_flight: InFlight) -> Quota {
        self.window().minus(in_flight)
    }

    fn window(&self) -> Window {
        Window::of_packets(self.window as u32)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let make = |path: &PathInfo| DelayBased { window: f64::from(path.initial_window_packets).max(2.0) };
    fastwire::congestion::conformance::check(make)?;

    let mut server = Server::bind("127.0.0.1:0")?;
    let mut client = Client::builder().controllers(make).connect(server.local_addr()?)?;
    let mut received = 0;
    for part in 0..40u8 {
        client.send(vec![part; 25_000], 0)?;
    }
    while received < 40 {
        server.receive(Instant::now());
        while let Some(event) = server.poll_event() {
            received += usize::from(matches!(event, Event::Message { .. }));
        }
        server.flush(Instant::now());
        client.tick(Instant::now(), &mut ());
    }
    let stats = client.stats().unwrap_or_default();
    println!("1 MB delivered; window {:?} packets, round trip {:?}", stats.congestion_window, stats.rtt);
    Ok(())
}
