//! A player's inputs over a bad line: small reliable messages with copies in advance, and shots that are of no use after 150 ms and
//! whose sender wants to know what became of them, and whose receiver how old they are.

use std::time::{Duration, Instant};

use fastwire::sim::{LinkConfig, Loss};
use fastwire::transport::{LossyTransport, UdpConfig, UdpTransport};
use fastwire::{
    ChannelConfig, Client, ClientConfig, ConnectionState, Handler, MessageFate, Peer, Receipt, Redundancy,
    SendOptions, Server, ServerConfig,
};

const FRAME: Duration = Duration::from_millis(16);
const FRAMES: u32 = 180;
/// Reliable and ordered, and reliable and unordered, in the default layout.
const INPUT: u8 = 0;
const SHOT: u8 = 1;

/// The game at the server: when which input came.
struct Game {
    start: Instant,
    late: Vec<Duration>,
}

impl Handler for Game {
    fn on_message(&mut self, peer: &mut Peer<'_>, input: &[u8], channel: u8) {
        if let (SHOT, Some(time)) = (channel, peer.message_time()) {
            println!("a shot, fired {:.1?} ago, ± {:.1?}", time.age, time.error);
        }
        let Some((number, _)) = input.split_first_chunk().filter(|_| channel == INPUT) else { return };
        let sent = FRAME * u32::from_be_bytes(*number);
        self.late.push(self.start.elapsed().saturating_sub(sent));
    }
}

/// The player: what became of the shots.
#[derive(Default)]
struct Player {
    hit: u32,
    gone: u32,
}

impl Handler for Player {
    fn on_receipt(&mut self, _: &mut Peer<'_>, receipt: &Receipt) {
        match receipt.fate {
            MessageFate::Acknowledged { rtt } => {
                self.hit += 1;
                println!("shot {} is there, after a round trip of {rtt:.1?}", receipt.id);
            }
            fate => {
                self.gone += 1;
                println!("shot {}: {fate:?}", receipt.id);
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = ServerConfig::default();
    config.clock_sync = true;
    let mut server = Server::builder().config(config).bind("127.0.0.1:0")?;
    let line = LinkConfig::new().latency(Duration::from_millis(25)).loss(Loss::Bernoulli { rate: 0.05 });
    let udp = UdpTransport::bind_with("127.0.0.1:0", UdpConfig::new())?;
    let mut input = ChannelConfig::default();
    input.priority = 1;
    input.redundancy = Some(Redundancy::copies(1));
    let mut config = ClientConfig::default();
    config.clock_sync = true;
    config.channel_configs.insert(INPUT, input);
    let mut client =
        Client::builder().config(config).build(LossyTransport::new(udp, line.clone(), line, 7)?)?;
    client.connect_to(server.local_addr()?)?;
    while client.state() != ConnectionState::Connected {
        client.tick(Instant::now(), &mut ());
        server.tick(Instant::now(), &mut ());
        std::thread::sleep(Duration::from_millis(1));
    }

    let (mut game, mut player) = (Game { start: Instant::now(), late: Vec::new() }, Player::default());
    let shot = SendOptions::new().receipt().stamped().expires_after(Duration::from_millis(150));
    let (mut frame, mut shots) = (0, 0);
    while game.late.len() < FRAMES as usize || player.hit + player.gone < shots {
        if frame < FRAMES && game.start.elapsed() >= FRAME * frame {
            let mut message = vec![0; 60];
            message[..4].copy_from_slice(&frame.to_be_bytes());
            client.send(message, INPUT)?;
            if frame % 30 == 29 {
                client.send_with(SHOT, "bang", shot)?;
                shots += 1;
            }
            frame += 1;
        }
        client.tick(Instant::now(), &mut player);
        server.tick(Instant::now(), &mut game);
        std::thread::sleep(Duration::from_millis(1));
    }
    game.late.sort_unstable();
    let p95 = game.late[game.late.len() * 95 / 100];
    let copies = client.server().map_or(0, |server| server.stats().redundant_copies);
    println!(
        "{} inputs, 95 % of them within {p95:.0?}, with {copies} copies; {} shots arrived",
        game.late.len(),
        player.hit
    );
    Ok(())
}
