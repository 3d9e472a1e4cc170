//! The same over real UDP sockets: whoever dies says nothing, closes its socket, and opens it again on the same port.

use std::time::{Duration, Instant};

use fastwire::transport::UdpTransport;
use fastwire::{Client, Event, Server};

use crate::check::Profile;
use crate::scenario::configs;

/// Long enough for everything but a hang.
const PATIENCE: Duration = Duration::from_secs(10);
const NAP: Duration = Duration::from_millis(2);
const AWAY: Duration = Duration::from_millis(500);

/// Restarts the server, then the client; how long after the return of each an echo came back.
pub(super) fn restarts(profile: Profile) -> Result<(Duration, Duration), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let (served, asked) = configs(profile);
    let mut server =
        Server::builder().config(served.clone()).bind("127.0.0.1:0").map_err(|error| told(&error))?;
    let at = server.local_addr().map_err(|error| told(&error))?;
    let mut client = Client::builder().config(asked.clone()).connect(at).map_err(|error| told(&error))?;
    let own = client.local_addr().map_err(|error| told(&error))?.port();
    echo(&mut server, &mut client, b"before")?;

    let ids: Vec<_> = server.connections().collect();
    for id in ids {
        server.endpoint_mut().abort(Instant::now(), id);
    }
    drop(server);
    // The client goes on alone, and hears from its system that nobody listens.
    let back = Instant::now() + AWAY;
    while Instant::now() < back {
        turn_client(&mut client, None);
        std::thread::sleep(NAP);
    }
    let mut server = Server::builder().config(served).bind(at).map_err(|error| told(&error))?;
    let after_server = echo(&mut server, &mut client, b"server is back")?;

    if let Some(id) = client.connection() {
        client.endpoint_mut().abort(Instant::now(), id);
    }
    drop(client);
    let socket = UdpTransport::bind(("127.0.0.1", own)).map_err(|error| told(&error))?;
    let mut client = Client::builder().config(asked).build(socket).map_err(|error| told(&error))?;
    client.connect_to(at).map_err(|error| told(&error))?;
    let after_client = echo(&mut server, &mut client, b"client is back")?;
    Ok((after_server, after_client))
}

/// Turns both until the client's `word` has come back.
fn echo(server: &mut Server, client: &mut Client, word: &[u8]) -> Result<Duration, String> {
    let started = Instant::now();
    let mut said = Instant::now();
    loop {
        // A message sent into a connection that is about to be given up goes with it.
        if client.send(word, 0).is_ok() {
            said = Instant::now();
        }
        let heard = turn_client(client, Some(word));
        server.receive(Instant::now());
        while let Some(event) = server.poll_event() {
            if let Event::Message { connection, channel, data } = event {
                let _ = server.send(connection, data, channel);
            }
        }
        server.flush(Instant::now());
        if heard {
            return Ok(started.elapsed());
        }
        if started.elapsed() > PATIENCE {
            let word = String::from_utf8_lossy(word);
            return Err(format!("no echo of {word:?} in {PATIENCE:?}; last sent {:?} ago", said.elapsed()));
        }
        std::thread::sleep(NAP);
    }
}

/// One turn of the client; gives whether it heard `word`.
fn turn_client(client: &mut Client, word: Option<&[u8]>) -> bool {
    client.receive(Instant::now());
    let mut heard = false;
    while let Some(event) = client.poll_event() {
        if let Event::Message { data, .. } = event {
            heard |= word == Some(&data[..]);
        }
    }
    client.flush(Instant::now());
    heard
}
