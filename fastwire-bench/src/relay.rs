//! The relay as a child: the project's own bad line between client and server, and what it saw.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fastwire_accept::line::LineOptions;
use fastwire_accept::relay::Relay;
use serde_json::json;

use crate::poll::stop_with_parent;
use crate::system::{Args, Outcome, quantile};

/// Forwards until the parent closes standard input.
pub fn run(args: &Args) -> Outcome<()> {
    let mut line = LineOptions::default();
    // `line=--delay,25ms,--loss,5%`
    let words: Vec<&str> = args.text("line").split(',').collect();
    for pair in words.chunks(2) {
        let value = pair.get(1).copied().unwrap_or_default().to_owned();
        if !line.accept(pair[0], || Ok(value))? {
            return Err(format!("a line has no {}", pair[0]).into());
        }
    }
    let listen = format!("127.0.0.1:{}", args.get::<u16>("port")).parse()?;
    let mut relay = Relay::bind(listen, args.server()?, line.config()?, args.get("seed"))?.keep_delays();
    println!("{}", relay.local_addr()?.port());
    let stop = stop_with_parent();
    while !stop.load(Ordering::Relaxed) {
        relay.run(Instant::now() + Duration::from_millis(50))?;
    }
    let summary = relay.summary();
    let mut delays: Vec<f64> = relay.delays().iter().map(|delay| delay.as_secs_f64() * 1e3).collect();
    println!(
        "{}",
        json!({
            "up_bytes": summary.up.offered_bytes,
            "down_bytes": summary.down.offered_bytes,
            "queue_drops": summary.up.queue_drops,
            "lost": summary.up.lost + summary.down.lost,
            "queue_delay_p95": quantile(&mut delays, 0.95),
            "failed_sends": summary.failed_sends,
        })
    );
    Ok(())
}
