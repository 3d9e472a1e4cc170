//! Echo, driven by a loop of one's own: server and client take turns in one thread.

use std::time::{Duration, Instant};

use fastwire::{Client, Event, Server};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut server = Server::bind("127.0.0.1:0")?;
    let mut client = Client::connect(server.local_addr()?)?;
    for number in 1..=3 {
        client.send(format!("hello {number}"), 0)?;
    }
    let mut echoes = 0;
    while echoes < 3 {
        server.receive(Instant::now());
        while let Some(event) = server.poll_event() {
            if let Event::Message { connection, channel, data } = event {
                server.send(connection, data, channel)?;
            }
        }
        server.flush(Instant::now());

        client.receive(Instant::now());
        while let Some(event) = client.poll_event() {
            if let Event::Message { data, .. } = event {
                println!("echo: {}", String::from_utf8_lossy(&data));
                echoes += 1;
            }
        }
        client.flush(Instant::now());
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
