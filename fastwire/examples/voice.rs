//! Voice as Opus makes it: a frame each 20 ms over a bad line. Parity brings most lost frames back within the time that a jitter
//! buffer waits anyway; what is later is concealed, never waited for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastwire::sim::{LinkConfig, Loss};
use fastwire::transport::{LossyTransport, UdpConfig, UdpTransport};
use fastwire::{Client, ClientConfig, ConnectionState, Fec, Handler, Peer, Server};

const FRAME: Duration = Duration::from_millis(20);
const FRAMES: u32 = 150;
/// Unreliable in the default layout. A sequenced channel would drop a frame that comes back behind a newer one.
const VOICE: u8 = 2;
/// Frames that the jitter buffer holds back: 60 ms.
const DEPTH: u32 = 3;

/// The listener: what it would play, and how regularly it came.
#[derive(Default)]
struct Listener {
    buffer: BTreeSet<u32>,
    next: u32,
    played: u32,
    concealed: u32,
    recovered: u64,
}

impl Handler for Listener {
    fn on_message(&mut self, speaker: &mut Peer<'_>, frame: &[u8], channel: u8) {
        let Some((number, _opus)) = frame.split_first_chunk().filter(|_| channel == VOICE) else { return };
        let number = u32::from_be_bytes(*number);
        if number >= self.next {
            self.buffer.insert(number);
        }
        while self.next + DEPTH <= number {
            if self.buffer.remove(&self.next) {
                self.played += 1;
            } else {
                self.concealed += 1;
            }
            self.next += 1;
        }
        self.recovered = speaker.stats().fec_recovered;
        if number % 25 == 24 {
            println!(
                "second {:.1}: jitter {:?}, {} recovered, {} concealed",
                number as f32 / 50.0,
                speaker.receive_quality(VOICE).unwrap_or_default().jitter,
                self.recovered,
                self.concealed
            );
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut server = Server::bind("127.0.0.1:0")?;
    let line = LinkConfig::new()
        .latency(Duration::from_millis(30))
        .jitter(Duration::from_millis(15))
        .loss(Loss::Bursts { rate: 0.05, length: 2 });
    // Expedited forwarding: where the network honours it, voice goes first.
    let udp = UdpTransport::bind_with("127.0.0.1:0", UdpConfig::new().dscp(46))?;
    let mut config = ClientConfig::default();
    // Two frames and up to two packets of parity: any two of the four give both frames.
    config.fec = Some(Fec::percent(100).over(2));
    let mut client =
        Client::builder().config(config).build(LossyTransport::new(udp, line.clone(), line, 7)?)?;
    client.connect_to(server.local_addr()?)?;
    while client.state() != ConnectionState::Connected {
        client.tick(Instant::now(), &mut ());
        server.tick(Instant::now(), &mut ());
        std::thread::sleep(Duration::from_millis(1));
    }

    let mut listener = Listener::default();
    let start = Instant::now();
    let mut sent = 0;
    // Half a second more for what is still on its way.
    while start.elapsed() < FRAME * (FRAMES + 25) {
        if sent < FRAMES && start.elapsed() >= FRAME * sent {
            let mut frame = sent.to_be_bytes().to_vec();
            frame.resize(4 + 80, 0x5a); // 32 kbit/s
            client.send_now(frame, VOICE)?;
            sent += 1;
        }
        server.tick(Instant::now(), &mut listener);
        client.tick(Instant::now(), &mut ());
        std::thread::sleep(Duration::from_millis(1));
    }
    let Listener { played, recovered, concealed, .. } = listener;
    println!("{sent} frames sent, {played} played, {recovered} recovered, {concealed} concealed");
    if played > FRAMES / 2 { Ok(()) } else { Err("the line was too bad".into()) }
}
