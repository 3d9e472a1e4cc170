//! Many answers to genuine challenges, from one address: each costs the server key agreements, until its budget ends.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastwire::sim::Rng;

use super::attack::connect_of;
use super::crowd::Crowd;
use super::server::ServerProcess;
use super::stages::Plan;
use crate::check::Profile;
use crate::scripted::Scripted;

/// The one address they all come from.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);
/// Handshakes under way at once.
const SOCKETS: usize = 32;
/// Datagrams a second.
const RATE: f64 = 10_000.0;
/// Cookies are fetched anew after so long; they live for ten seconds.
const RENEW: Duration = Duration::from_secs(4);
/// The budget's burst is used up within this time.
const BURST: Duration = Duration::from_millis(700);
const SETTLE: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    /// Answers sent a second.
    pub(crate) offered: f64,
    /// Handshakes a second for which the server did key agreements, after the burst.
    pub(crate) agreed: f64,
    /// Refused for lack of budget.
    pub(crate) refused: u64,
    pub(crate) in_time: f64,
    pub(crate) missing: usize,
    /// The clients' p99 in peace and under the flood.
    pub(crate) p99: (Duration, Duration),
    /// Newcomers from another address.
    pub(crate) joined: usize,
    pub(crate) asked: usize,
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0}/s answers to genuine challenges from one address: {:.1}/s agreed, {} refused; others: {:.2}% in time, {} \
             missing, p99 {:.1} -> {:.1} ms, {} of {} newcomers in",
            self.offered,
            self.agreed,
            self.refused,
            100.0 * self.in_time,
            self.missing,
            1e3 * self.p99.0.as_secs_f64(),
            1e3 * self.p99.1.as_secs_f64(),
            self.joined,
            self.asked
        )
    }
}

/// Floods a server of `profile`.
pub(crate) fn flood_of_responses(profile: Profile, plan: Plan) -> Result<Answers, String> {
    let mut server = ServerProcess::start(profile)?;
    let mut crowd = Crowd::connect(profile, server.at, plan.clients)?;
    crowd.live(plan.each / 4, 0.0, || ())?;
    crowd.settle(SETTLE);
    drop(crowd.take());
    crowd.live(plan.each, 0.0, || ())?;
    crowd.settle(SETTLE);
    let peace = crowd.take();

    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let attacker = thread::spawn({
        let (at, stop, sent) = (server.at, Arc::clone(&stop), Arc::clone(&sent));
        move || attack(profile, at, &stop, &sent)
    });
    crowd.live(BURST, 0.0, || ())?;
    let handshakes = |server: &mut ServerProcess| -> Result<(u64, u64), String> {
        let counters = server.counters()?;
        let count = |name: &str| counters[name].as_u64().unwrap_or_default();
        // The extended profile's take two X25519 each.
        let each = if profile == Profile::Extended { 2 } else { 1 };
        Ok((
            count("key_agreements") / each - count("connections_established"),
            count("key_agreements_refused"),
        ))
    };
    let (started, before, sent_before) =
        (Instant::now(), handshakes(&mut server)?, sent.load(Ordering::Relaxed));
    crowd.live(plan.joining, 2.0, || ())?;
    let elapsed = started.elapsed().as_secs_f64();
    let (after, sent_after) = (handshakes(&mut server)?, sent.load(Ordering::Relaxed));
    stop.store(true, Ordering::Relaxed);
    let attacked = attacker.join().unwrap_or_else(|_| Err("the attacker panicked".into()));
    crowd.settle(SETTLE);
    let tally = crowd.take();
    attacked?;
    Ok(Answers {
        offered: (sent_after - sent_before) as f64 / elapsed,
        agreed: after.0.saturating_sub(before.0) as f64 / elapsed,
        refused: after.1 - before.1,
        in_time: tally.in_time(),
        missing: tally.missing,
        p99: (peace.quantile(0.99), tally.quantile(0.99)),
        joined: tally.joined,
        asked: tally.joined + tally.kept_out,
    })
}

/// Sends answers at the rate until it is stopped.
fn attack(profile: Profile, at: SocketAddr, stop: &AtomicBool, sent: &AtomicU64) -> Result<(), String> {
    let mut rng = Rng::new(0x72_65_73_70);
    let (mut armed, mut answers) = (Instant::now(), Vec::new());
    let (started, mut turn) = (Instant::now(), 0usize);
    while !stop.load(Ordering::Relaxed) {
        if answers.is_empty() || armed.elapsed() > RENEW {
            armed = Instant::now();
            answers = arm(profile, at, &mut rng)?;
        }
        let due = (started.elapsed().as_secs_f64() * RATE) as u64;
        if sent.load(Ordering::Relaxed) >= due {
            thread::sleep(Duration::from_micros(500));
            continue;
        }
        turn += 1;
        let place = turn % answers.len();
        let Some((socket, connect, answer)) = answers.get_mut(place) else { continue };
        // Not sent is lost.
        if profile == Profile::Extended {
            let _ = socket.send(answer);
        } else {
            // A base handshake costs one agreement, so each answer has a handshake of its own.
            for byte in &mut connect[12..44] {
                *byte = rng.next_u64() as u8;
            }
            let _ = socket.send(connect);
            answer.iter_mut().for_each(|byte| *byte = rng.next_u64() as u8);
            let _ = socket.send(answer);
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A socket, a CONNECT, and an answer that does not open but looks right up to there.
type Arm = (UdpSocket, Vec<u8>, Vec<u8>);

fn arm(profile: Profile, at: SocketAddr, rng: &mut Rng) -> Result<Vec<Arm>, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut arms = Vec::new();
    for _ in 0..SOCKETS {
        let socket =
            UdpSocket::bind((SOURCE, 0)).or_else(|_| UdpSocket::bind("127.0.0.1:0")).map_err(told)?;
        socket.connect(at).map_err(told)?;
        socket.set_read_timeout(Some(Duration::from_millis(200))).map_err(told)?;
        if profile != Profile::Extended {
            arms.push((socket, connect_of(profile)?, vec![0; 64]));
            continue;
        }
        let mut scripted = Scripted::client(rng, None);
        let connect = scripted.outgoing.pop().ok_or("no CONNECT")?;
        socket.send(&connect).map_err(told)?;
        let mut buffer = [0; 2048];
        // A challenge that is lost is one answer less.
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        scripted.receive(&buffer[..length]);
        let Some(mut response) = scripted.outgoing.pop() else { continue };
        if let Some(last) = response.last_mut() {
            *last ^= 1;
        }
        arms.push((socket, connect, response));
    }
    if arms.is_empty() { Err("no challenge came".into()) } else { Ok(arms) }
}
