//! What a server does with a message, the same for every system.

use crate::system::{Args, now_ns};

/// How replies of one server come about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Every message is answered with one of `reply` bytes that begins like it.
    #[default]
    Echo,
    /// Every `every`-th message, and the last of `total`, is answered with how many came so far and the number of
    /// the newest.
    Sink,
    /// Messages begin with the time they were sent: how long they took is kept for the report.
    Log,
}

/// The state of one server.
#[derive(Debug, Default)]
pub struct Behaviour {
    role: Role,
    reply: usize,
    every: u64,
    total: u64,
    count: u64,
    newest: u64,
    /// Nanoseconds each logged message was under way.
    pub latencies: Vec<u64>,
}

impl Behaviour {
    pub fn new(args: &Args) -> Self {
        let role = match args.text("role") {
            "sink" => Role::Sink,
            "log" => Role::Log,
            _ => Role::Echo,
        };
        Self {
            role,
            reply: args.get("reply"),
            every: args.get::<u64>("every").max(1),
            total: args.get("total"),
            ..Self::default()
        }
    }

    /// Looks at a message; true if `reply` now holds an answer.
    pub fn on_message(&mut self, data: &[u8], reply: &mut Vec<u8>) -> bool {
        match self.role {
            Role::Echo => {
                reply.clear();
                reply.extend_from_slice(&data[..data.len().min(self.reply)]);
                reply.resize(self.reply, 0);
                true
            }
            Role::Sink => {
                self.count += 1;
                self.newest = self.newest.max(number(data));
                let due = self.count.is_multiple_of(self.every) || self.count == self.total;
                if due {
                    reply.clear();
                    reply.extend_from_slice(&self.newest.to_le_bytes());
                    reply.extend_from_slice(&self.count.to_le_bytes());
                }
                due
            }
            Role::Log => {
                self.latencies.push(now_ns().saturating_sub(number(data)));
                false
            }
        }
    }
}

/// The little-endian number a message begins with; 0 if it is too short.
pub fn number(data: &[u8]) -> u64 {
    data.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The newest message's number and the count that a sink's answer tells.
pub fn progress(data: &[u8]) -> (u64, u64) {
    (number(data), data.get(8..).map_or(0, number))
}
