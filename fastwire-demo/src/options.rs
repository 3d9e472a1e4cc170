//! What the command line asks for.

use std::time::Duration;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
FastWire at work: a server and several clients that exchange messages over UDP.

  cargo run --release -p fastwire-demo                             a server and four clients in this process
  cargo run --release -p fastwire-demo -- server 0.0.0.0:7777      a server alone
  cargo run --release -p fastwire-demo -- client HOST:7777         a client of it, here or on another machine

  --bad-line      clients play over a bad line: 60 ms round trip, jitter, 5 % of all packets lost each way
  --top           a server alone shows a table of its connections, renewed each second
  --seconds N     how long to play (10; a server alone plays until it is stopped)
  --help          this text";

/// How long is played unless said otherwise.
const DEFAULT: Duration = Duration::from_secs(10);

/// Who is played here.
#[derive(Debug, PartialEq)]
pub(crate) enum Role {
    /// A server and its clients.
    Everybody,
    /// A server on this address.
    Server(String),
    /// A client of the server at this address.
    Client(String),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) role: Role,
    pub(crate) bad_line: bool,
    /// Show a table of connections.
    pub(crate) top: bool,
    /// `None`: until somebody stops it.
    pub(crate) duration: Option<Duration>,
}

impl Options {
    /// Reads the arguments; `None` when they ask for help. The error says what to change.
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mut role, mut bad_line, mut top, mut duration) = (Role::Everybody, false, false, None);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--help" | "-h" => return Ok(None),
                "--bad-line" => bad_line = true,
                "--top" => top = true,
                "--seconds" => {
                    let seconds = arguments.next().and_then(|text| text.parse().ok());
                    let seconds = seconds.filter(|seconds| (1..=86_400).contains(seconds));
                    duration = Some(seconds.ok_or("--seconds wants a number from 1 to 86400")?);
                }
                "server" | "client" => {
                    let address = arguments.next().filter(|text| text.contains(':'));
                    let address =
                        address.ok_or(format!("{argument} wants an address such as 127.0.0.1:7777"))?;
                    role = if argument == "server" { Role::Server(address) } else { Role::Client(address) };
                }
                unknown => return Err(format!("{unknown:?} is not known here")),
            }
        }
        if top && !matches!(role, Role::Server(_)) {
            return Err("--top shows a server's connections: say server ADDRESS too".into());
        }
        let duration = duration.map(Duration::from_secs);
        let duration = if matches!(role, Role::Server(_)) { duration } else { duration.or(Some(DEFAULT)) };
        Ok(Some(Self { role, bad_line, top, duration }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>, String> {
        Options::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read_or_refused_with_a_reason() {
        let everybody =
            Options { role: Role::Everybody, bad_line: false, top: false, duration: Some(DEFAULT) };
        assert_eq!(read(""), Ok(Some(everybody)));
        let server =
            Options { role: Role::Server("[::]:1".into()), bad_line: true, top: true, duration: None };
        assert_eq!(read("--bad-line server [::]:1 --top"), Ok(Some(server)));
        let duration = Some(Duration::from_secs(3));
        let client = Options { role: Role::Client("host:1".into()), bad_line: false, top: false, duration };
        assert_eq!(read("client host:1 --seconds 3"), Ok(Some(client)));
        assert_eq!(read("client host:1 --help"), Ok(None));
        for wrong in
            ["server", "client host", "--seconds", "--seconds 0", "-x", "--top", "client host:1 --top"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
