//! The floor: how many datagrams a second arrive at a socket whose owner only receives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastwire::transport::{Readiness as _, RecvBatch, Transport as _, UdpTransport};

use super::attack::{Attack, Kind};
use crate::check::Profile;

/// A share lost that still counts as none.
const NOTHING: f64 = 0.001;
/// Searches for the rate take so many steps at most, each a tenth less.
const STEPS: u32 = 8;

/// The highest rate, in datagrams a second, at which the sink misses nothing; and whether the sender could do no more.
pub(super) fn drained_rate(profile: Profile, step: Duration) -> Result<(f64, bool), String> {
    let mut asked = None;
    for number in 0..STEPS {
        let (offered, received) = measure(profile, asked, step)?;
        if received >= offered * (1.0 - NOTHING) {
            return Ok((offered, number == 0));
        }
        asked = Some(received.min(offered * 0.9));
    }
    Ok((asked.unwrap_or_default(), false))
}

/// Datagrams a second that were sent, and that arrived.
fn measure(profile: Profile, rate: Option<f64>, time: Duration) -> Result<(f64, f64), String> {
    let mut transport = UdpTransport::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let at = transport.local_addr().map_err(|error| error.to_string())?;
    let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let sink = thread::spawn({
        let (done, count) = (Arc::clone(&done), Arc::clone(&count));
        move || {
            let mut batch = RecvBatch::new();
            loop {
                let ending = done.load(Ordering::Acquire);
                // An error is nothing received.
                let mut taken = 0;
                while let Ok(more @ 1..) = transport.recv(&mut batch) {
                    taken += more as u64;
                }
                count.fetch_add(taken, Ordering::Relaxed);
                if ending {
                    return;
                }
                let _ = transport.wait(Some(Duration::from_millis(5)));
            }
        }
    });
    let started = Instant::now();
    let attack = Attack::start(&Kind::Connects, profile, at, rate)?;
    thread::sleep(time);
    let sent = attack.stop();
    let elapsed = started.elapsed().as_secs_f64();
    thread::sleep(Duration::from_millis(30));
    done.store(true, Ordering::Release);
    if sink.join().is_err() {
        return Err("the sink panicked".into());
    }
    Ok((sent as f64 / elapsed, count.load(Ordering::Relaxed) as f64 / elapsed))
}
