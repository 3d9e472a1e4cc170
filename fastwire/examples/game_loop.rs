//! A game at 60 frames a second: inputs up, positions down, two seconds long.

use std::collections::BTreeMap;
use std::f32::consts::TAU;
use std::time::{Duration, Instant};

use fastwire::{Client, ConnectionId, ConnectionState, Event, Server};

const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 60);
/// Channels of the default layout.
const EVENTS: u8 = 0; // reliable, ordered
const STATE: u8 = 3; // only the newest counts

/// The server's world: where everybody is.
#[derive(Default)]
struct World(BTreeMap<ConnectionId, f32>);

impl World {
    /// One frame: input first, then the world moves, then everybody hears of it, all within the frame.
    fn frame(&mut self, server: &mut Server) {
        server.receive(Instant::now());
        while let Some(event) = server.poll_event() {
            match event {
                Event::Connected { connection } => {
                    self.0.insert(connection, 0.0);
                    let _ = server.send(connection, "welcome", EVENTS);
                }
                Event::Message { connection, channel: STATE, data } => {
                    if let (Some(x), Ok(push)) = (self.0.get_mut(&connection), data[..].try_into()) {
                        *x += f32::from_le_bytes(push);
                    }
                }
                Event::Disconnected { connection, .. } => drop(self.0.remove(&connection)),
                _ => {}
            }
        }
        let positions: Vec<u8> = self.0.values().flat_map(|x| x.to_le_bytes()).collect();
        server.peers().broadcast(positions, STATE);
        server.flush(Instant::now());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut server = Server::bind("127.0.0.1:0")?;
    let mut client = Client::connect(server.local_addr()?)?;
    let mut world = World::default();
    let mut updates = 0;
    let mut next_frame = Instant::now();
    for frame in 0..120 {
        world.frame(&mut server);

        client.receive(Instant::now());
        while let Some(event) = client.poll_event() {
            match event {
                Event::Message { channel: EVENTS, data, .. } => {
                    println!("{}", String::from_utf8_lossy(&data))
                }
                Event::Message { data, .. } => {
                    updates += 1;
                    if let (0, Some(x)) = (updates % 30, data.first_chunk()) {
                        println!("frame {frame}: we are at {:+.2}", f32::from_le_bytes(*x));
                    }
                }
                _ => {}
            }
        }
        if client.state() == ConnectionState::Connected {
            let push = (frame as f32 / 120.0 * TAU).sin();
            client.send(push.to_le_bytes(), STATE)?;
        }
        client.flush(Instant::now());

        next_frame += FRAME;
        std::thread::sleep(next_frame.saturating_duration_since(Instant::now()));
    }
    println!(
        "{updates} updates, round trip {:?} with a frame on each side",
        client.rtt().unwrap_or_default()
    );
    if updates == 0 { Err("nothing arrived".into()) } else { Ok(()) }
}
