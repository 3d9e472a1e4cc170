//! The command line.

use fastwire_kcp::core::NoDelay;
use fastwire_kcp::crypt::{Crypt, CryptKind};
use fastwire_kcp::fec::FecRatio;
use fastwire_kcp::net::KcpConfig;
use std::time::Duration;

/// A connection may be idle for as long as it likes: so often a sign of life is asked for.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// An end that gave none for so long is gone, and its connections with it.
const GONE: Duration = Duration::from_secs(120);

/// What `--help` prints.
pub const HELP: &str = "\
fastwire-tunnel: forwards TCP connections through UDP, encrypted

  fastwire-tunnel server --listen UDP --to TCP --key SECRET    next to the service
  fastwire-tunnel client --listen TCP --to UDP --key SECRET    where its users are

Addresses are HOST:PORT. A server at 203.0.113.5 that offers its web server, and a client for one machine:

  fastwire-tunnel server --listen 0.0.0.0:4000 --to 127.0.0.1:80 --key SECRET
  fastwire-tunnel client --listen 127.0.0.1:8080 --to 203.0.113.5:4000 --key SECRET

  --key SECRET      the passphrase, the same at both ends; others on the machine can see it, unlike
  --key-file FILE   the passphrase is the file's first line; without either, the environment's FASTWIRE_TUNNEL_KEY
  --crypt NAME      the same at both ends: aes-128-gcm (default), aes-256-gcm, chacha20-poly1305, or another of kcp-go's
  --over NAME       what carries the connections: kcp (default, and the only one built)
  --mode NAME       latency against bandwidth: normal, fast, fast2 or fast3 (default)
  --fec D+P         for every D datagrams send P more, so that as many may be lost: 10+3, say; none unless asked for
  --compress LEVEL  zstd for what this end sends, 1 (fast) to 19 (small); none unless asked for
  --mtu BYTES       size of datagrams, 100 to 1500 (1400)
  --window N        segments in flight each way, 1 to 65535 (1024)
  --quiet           do not show what goes through

Mode, error correction, compression and window are each end's own choice.";

/// Which side this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Accepts streams, connects to the service.
    Server,
    /// Accepts TCP, opens streams.
    Client,
}

/// What was asked for.
#[derive(Debug)]
pub struct Options {
    /// Which side.
    pub role: Role,
    /// Where to accept.
    pub listen: String,
    /// Where to forward to.
    pub to: String,
    /// Settings of KCP.
    pub kcp: KcpConfig,
    /// Level of the compression of what is sent.
    pub level: Option<i32>,
    /// Show nothing.
    pub quiet: bool,
}

/// Reads the arguments; `None` when help was asked for. `environment` gives the value of a variable.
///
/// # Errors
/// A sentence that says what to change.
pub fn parse(
    arguments: &[String],
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Options>, String> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        return Ok(None);
    }
    let (role, rest) = match arguments.split_first() {
        Some((role, rest)) if role == "server" => (Role::Server, rest),
        Some((role, rest)) if role == "client" => (Role::Client, rest),
        Some((other, _)) => return Err(format!("{other:?} is neither server nor client")),
        None => return Err("say server or client".into()),
    };
    let (mut listen, mut to, mut key, mut level, mut quiet) = (None, None, None, None, false);
    let (mut kind, mut nodelay, mut fec) = (CryptKind::Aes128Gcm, NoDelay::FAST3, None);
    let (mut mtu, mut window) = (1400, 1024);
    let mut rest = rest.iter();
    while let Some(option) = rest.next() {
        if option == "--quiet" {
            quiet = true;
            continue;
        }
        let mut value = || rest.next().cloned().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--listen" => listen = Some(value()?),
            "--to" => to = Some(value()?),
            "--key" => key = Some(value()?),
            "--key-file" => key = Some(first_line(&value()?)?),
            "--crypt" => kind = value()?.parse().map_err(|error| format!("--crypt: {error}"))?,
            "--over" => match value()?.as_str() {
                "kcp" => {}
                other => return Err(format!("--over {other:?}: only kcp is built")),
            },
            "--mode" => nodelay = mode(&value()?)?,
            "--fec" => fec = Some(ratio(&value()?)?),
            "--compress" => level = Some(within(option, &value()?, 1, 19)? as i32),
            "--mtu" => mtu = within(option, &value()?, 100, 1500)?,
            "--window" => window = within(option, &value()?, 1, 65_535)?,
            other => return Err(format!("unknown option {other}")),
        }
    }
    let listen = listen.ok_or("--listen is missing: where to accept, such as 127.0.0.1:8080")?;
    let to = to.ok_or("--to is missing: where to forward to, such as 127.0.0.1:80")?;
    let key = key.or_else(|| environment("FASTWIRE_TUNNEL_KEY")).filter(|key| !key.is_empty());
    let key =
        key.ok_or("no key: give --key, --key-file or FASTWIRE_TUNNEL_KEY, the same secret at both ends")?;
    let crypt = Crypt::from_passphrase(kind, &key);
    let window = window as u32;
    let kcp = KcpConfig::new(crypt).stream(true).nodelay(nodelay).fec(fec).mtu(mtu).window(window, window);
    let kcp = kcp.keepalive(Some(KEEPALIVE)).idle_timeout(Some(GONE));
    Ok(Some(Options { role, listen, to, kcp, level, quiet }))
}

fn mode(name: &str) -> Result<NoDelay, String> {
    match name {
        "normal" => Ok(NoDelay::NORMAL),
        "fast" => Ok(NoDelay::FAST),
        "fast2" => Ok(NoDelay::FAST2),
        "fast3" => Ok(NoDelay::FAST3),
        other => Err(format!("--mode {other:?}: choose normal, fast, fast2 or fast3")),
    }
}

fn ratio(text: &str) -> Result<FecRatio, String> {
    let figures = text.split_once('+').and_then(|(d, p)| Some((d.parse().ok()?, p.parse().ok()?)));
    let (data, parity) = figures.ok_or_else(|| format!("--fec {text:?}: give two figures, such as 10+3"))?;
    FecRatio::new(data, parity).map_err(|error| format!("--fec {text}: {error}"))
}

fn within(option: &str, text: &str, least: usize, most: usize) -> Result<usize, String> {
    let figure = text.parse().ok().filter(|figure| (least..=most).contains(figure));
    figure.ok_or_else(|| format!("{option} {text:?}: give a number from {least} to {most}"))
}

fn first_line(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("--key-file {path}: {error}"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Options>, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&arguments, |_| None)
    }

    #[test]
    fn the_lines_of_the_help_are_understood() {
        let lines = HELP.lines().filter_map(|line| line.trim().strip_prefix("fastwire-tunnel "));
        let roles: Vec<_> = lines
            .map(|line| line.split("  ").next().unwrap())
            .map(|line| parsed(line).unwrap().unwrap().role)
            .collect();
        assert_eq!(roles, [Role::Server, Role::Client, Role::Server, Role::Client]);
        assert!(parsed("client --help").unwrap().is_none());
    }

    #[test]
    fn every_option_of_the_help_is_known() {
        let options = HELP
            .lines()
            .filter_map(|line| line.trim().strip_prefix("--"))
            .filter_map(|line| line.split(' ').next());
        for option in options.filter(|option| *option != "quiet") {
            let complaint = parsed(&format!("server --listen a --to b --key c --{option}")).unwrap_err();
            assert_eq!(complaint, format!("--{option} needs a value"));
        }
    }

    #[test]
    fn a_complaint_names_the_argument_and_what_to_give() {
        for (line, named) in [
            ("", "server or client"),
            ("relay", "\"relay\""),
            ("server --to b --key c", "--listen"),
            ("server --listen a --key c", "--to"),
            ("server --listen a --to b", "--key"),
            ("server --listen a --to b --key c --fec 10", "10+3"),
            ("server --listen a --to b --key c --fec 200+100", "256"),
            ("server --listen a --to b --key c --mode turbo", "fast3"),
            ("server --listen a --to b --key c --mtu 1501", "1500"),
            ("server --listen a --to b --key c --compress 0", "from 1 to 19"),
            ("server --listen a --to b --key c --crypt rot13", "--crypt"),
            ("server --listen a --to b --key c --over tcp", "kcp"),
            ("server --listen a --to b --key c --key-file /nonexistent", "/nonexistent"),
            ("server --listen a --to b --key c --mtu", "--mtu needs a value"),
            ("server --listen a --to b --key c --fast", "unknown option --fast"),
        ] {
            let complaint = parsed(line).unwrap_err();
            assert!(complaint.contains(named), "{line}: {complaint}");
        }
    }

    /// A connection without traffic hears of the other end several times before that is taken for gone.
    #[test]
    fn an_idle_connection_is_kept() {
        let kcp = parsed("server --listen a --to b --key c").unwrap().unwrap().kcp;
        assert!(kcp.keepalive.unwrap() * 4 < kcp.idle_timeout.unwrap());
    }

    #[test]
    fn the_key_may_come_from_the_environment() {
        let arguments = ["server", "--listen", "a", "--to", "b"].map(str::to_owned);
        assert!(parse(&arguments, |name| (name == "FASTWIRE_TUNNEL_KEY").then(|| "secret".into())).is_ok());
        assert!(parse(&arguments, |_| Some(String::new())).is_err());
    }
}
