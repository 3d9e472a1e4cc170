//! A server and a client whose line does what a script says.

use std::time::{Duration, Instant};

use fastwire::reliability::DeliveryMode;
use fastwire::sim::Ledger;
use fastwire::transport::SocketId;
use fastwire::{ConnectionId, ConnectionState, Event};

use super::endpoint::{Metered, client_address, configs, server_address};
use super::glass::{Glass, GlassSuites};
use crate::Script;

/// Datagrams the line holds; older ones are lost.
const LINE: usize = 256;

struct Pair {
    server: Metered<Glass>,
    client: Metered<Glass>,
    sockets: Vec<SocketId>,
    /// Towards the server: which socket of the client it left, and its bytes.
    up: Vec<(SocketId, Vec<u8>)>,
    down: Vec<(SocketId, Vec<u8>)>,
}

impl Pair {
    fn turn(&mut self) {
        for end in [&mut self.server, &mut self.client] {
            end.transmit();
            end.listen();
            end.check();
        }
        self.client.sockets(&mut self.sockets);
        self.up.extend(self.client.sent.drain(..).map(|sent| (sent.socket, sent.bytes)));
        for sent in self.server.sent.drain(..) {
            let socket = (0..64).map(SocketId).find(|socket| client_address(socket.0) == sent.to);
            self.down.extend(socket.map(|socket| (socket, sent.bytes)));
        }
        for line in [&mut self.up, &mut self.down] {
            let over = line.len().saturating_sub(LINE);
            line.drain(..over);
        }
    }

    fn arrive(&mut self, up: bool, (socket, bytes): (SocketId, Vec<u8>)) {
        if up {
            self.server.feed(SocketId::PRIMARY, client_address(socket.0), &bytes);
        } else if self.sockets.contains(&socket) {
            self.client.feed(socket, server_address(), &bytes);
        }
    }

    fn sleep(&mut self, span: Duration) {
        self.server.sleep(span);
        self.client.sleep(span);
    }

    /// A perfect line for a while.
    fn calm(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.turn();
            for datagram in std::mem::take(&mut self.up) {
                self.arrive(true, datagram);
            }
            for datagram in std::mem::take(&mut self.down) {
                self.arrive(false, datagram);
            }
            self.sleep(Duration::from_millis(10));
        }
        self.turn();
    }
}

/// Both ends talk over a line that loses, delays, repeats, reorders and bends. No nonce is used twice under one key
/// (a meter in the cipher), every mode keeps its law, memory and datagrams keep their bounds, and what is reliable
/// arrives once the line is good again, if the connection lived on.
pub fn pair(data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.byte();
    let (server, client) = configs(choice);
    let suites = GlassSuites { nonces: Default::default(), keyed: true };
    let now = Instant::now();
    let mut pair = Pair {
        server: Metered::server(&server, suites.clone(), 1, now),
        client: Metered::client(&client, suites, 2, now),
        sockets: vec![SocketId::PRIMARY],
        up: Vec::new(),
        down: Vec::new(),
    };
    let at_client = pair.client.core.connect(now, &[server_address()]).expect("connects");
    let mut at_server: Option<ConnectionId> = None;
    if choice & 0x80 == 0 {
        pair.calm(8);
        at_server = pair.server.core.connections().next();
    }
    let ledger = |salt| DeliveryMode::ALL.map(|mode| Ledger::new(mode, salt));
    let (mut ups, mut downs) = (ledger(1), ledger(2));
    let mut one_connection = true;
    while !script.is_over() {
        let action = script.byte();
        let up = action & 0x80 == 0;
        match action & 15 {
            0..=2 => {
                let len = usize::from(script.byte()) << (action >> 4 & 6);
                let channel = action & 3;
                if up {
                    let ledger = &mut ups[usize::from(channel)];
                    let message = ledger.message(len);
                    if pair.client.core.send(pair.client.now, at_client, message, channel).is_ok() {
                        ledger.on_sent(len);
                    }
                } else if let Some(id) = at_server {
                    let ledger = &mut downs[usize::from(channel)];
                    let message = ledger.message(len);
                    if pair.server.core.send(pair.server.now, id, message, channel).is_ok() {
                        ledger.on_sent(len);
                    }
                }
            }
            3..=7 => {
                let line = if up { &mut pair.up } else { &mut pair.down };
                let index = usize::from(script.byte());
                if !line.is_empty() {
                    let index = index % line.len();
                    let repeated = action & 0x40 != 0;
                    let mut datagram = if repeated { line[index].clone() } else { line.remove(index) };
                    if action & 15 == 7 {
                        let at = usize::from(script.u16()) % datagram.1.len();
                        datagram.1[at] ^= 1 << (action >> 4 & 3);
                    }
                    if action & 0x30 != 0x30 || action & 15 == 7 {
                        pair.arrive(up, datagram);
                    }
                }
            }
            8 | 9 => pair.sleep(Duration::from_millis(u64::from(script.byte()) * u64::from(action >> 4 & 7))),
            10 => pair.calm(usize::from(action >> 4 & 3)),
            11 => {
                let _ = pair.client.core.rebind(pair.client.now, at_client);
            }
            12 if action & 0x70 == 0x70 => {
                let _ = pair.client.core.close(pair.client.now, at_client);
            }
            13 => {
                let line = if up { &mut pair.up } else { &mut pair.down };
                line.clear();
            }
            14 => {
                pair.server.core.pause(at_server.unwrap_or(at_client), action & 0x10 == 0);
            }
            _ => {
                let bytes = script.block().to_vec();
                pair.arrive(up, (SocketId::PRIMARY, bytes));
            }
        }
        pair.turn();
        at_server = at_server.or_else(|| pair.server.core.connections().next());
        one_connection &= judge(&mut pair, &mut ups, &mut downs);
    }
    if let Some(id) = at_server {
        pair.server.core.pause(id, false);
    }
    let alive = |pair: &Pair| {
        pair.client.core.state(at_client) == ConnectionState::Connected
            && at_server.is_some_and(|id| pair.server.core.state(id) == ConnectionState::Connected)
    };
    if !one_connection || !alive(&pair) {
        return;
    }
    for _ in 0..100 {
        pair.calm(10);
        one_connection &= judge(&mut pair, &mut ups, &mut downs);
        if !one_connection || !alive(&pair) || ups.iter().chain(&downs).all(Ledger::is_complete) {
            return;
        }
    }
    panic!("not everything arrived over a good line: {ups:?} {downs:?}");
}

/// Holds what arrived against what was sent. False once a connection ended or a second one began: messages that were
/// under way then may be lost, and nothing more is promised.
fn judge(pair: &mut Pair, ups: &mut [Ledger; 4], downs: &mut [Ledger; 4]) -> bool {
    let mut one = true;
    for (end, ledgers) in [(&mut pair.server, ups), (&mut pair.client, downs)] {
        for event in end.events.drain(..) {
            match event {
                Event::Message { channel, data, .. } => {
                    ledgers[usize::from(channel)].on_delivered(&data).expect("the mode's law");
                }
                Event::Connected { .. } => {}
                Event::Error { error, .. } => panic!("between our own: {error}"),
                _ => one = false,
            }
        }
    }
    one
}
