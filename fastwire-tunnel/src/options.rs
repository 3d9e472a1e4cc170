//! The command line.

use crate::fastwire::{ClientSettings, ServerSettings};
use fastwire::crypto::PublicKey;
use fastwire::{Fec, PreSharedKey};
use fastwire_kcp::core::NoDelay;
use fastwire_kcp::crypt::{Crypt, CryptKind};
use fastwire_kcp::fec::FecRatio;
use fastwire_kcp::net::KcpConfig;
use sha2::Sha256;
use std::time::Duration;
use zeroize::Zeroizing;

/// A connection may be idle for as long as it likes: so often a sign of life is asked for.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// An end that gave none for so long is gone, and its connections with it.
const GONE: Duration = Duration::from_secs(120);
/// Rounds of PBKDF2-HMAC-SHA256 (RFC 8018 section 5.2) from the passphrase to FastWire's pre-shared key: a second's fraction
/// for us, and as much for each guess. At least what OWASP's Password Storage Cheat Sheet asks of this function.
const ROUNDS: u32 = 600_000;
/// The salt of it. The same for all: two tunnels with one passphrase have one key.
const SALT: &[u8] = b"fastwire-tunnel pre-shared key";

/// What `--help` prints.
pub const HELP: &str = "\
fastwire-tunnel: forwards TCP connections through UDP, encrypted

  fastwire-tunnel server --listen UDP --to TCP --key SECRET    next to the service
  fastwire-tunnel client --listen TCP --to UDP --key SECRET    where its users are

Addresses are HOST:PORT. A server at 203.0.113.5 that offers its web server, and a client for one machine:

  fastwire-tunnel server --listen 0.0.0.0:4000 --to 127.0.0.1:80 --key SECRET
  fastwire-tunnel client --listen 127.0.0.1:8080 --to 203.0.113.5:4000 --key SECRET

A server for everybody that nobody can impersonate, and a client that remembers it:

  fastwire-tunnel server --listen 0.0.0.0:4000 --to 127.0.0.1:80 --identity server.identity
  fastwire-tunnel client --listen 127.0.0.1:8080 --to 203.0.113.5:4000 --known-hosts known_servers

  --over NAME        what carries the connections, the same at both ends: fastwire (default) or kcp
  --key SECRET       the passphrase, the same at both ends: long and random; others on the machine can see it, unlike
  --key-file FILE    the passphrase is the file's first line; without either, the environment's FASTWIRE_TUNNEL_KEY
  --compress LEVEL   zstd for what this end sends, 1 (fast) to 19 (small); none unless asked for
  --mtu BYTES        size of datagrams: 1200 to 9000 over FastWire (1200), 100 to 1500 over KCP (1400)
  --fec D+P          for every D datagrams send P more, so that as many may be lost: 10+3, say; none unless asked for. Over
                     FastWire at most so many, and none while nothing is lost
  --quiet            do not show what goes through

Over FastWire the two ends need a passphrase, or the client has to know the server:

  --identity FILE    server: the key pair that clients pin; made the first time. Without a passphrase everybody is let in
  --pin KEY          client: the server's key, 64 hex digits, as the server prints it
  --known-hosts FILE client: keys of servers seen before; the server's is added the first time

Over KCP they need a passphrase:

  --crypt NAME       the same at both ends: aes-128-gcm (default), aes-256-gcm, chacha20-poly1305, or another of kcp-go's
  --mode NAME        latency against bandwidth: normal, fast, fast2 or fast3 (default)
  --window N         segments in flight each way, 1 to 65535 (1024)

Compression, and over KCP mode, error correction and window, are each end's own choice.";

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
    /// Where to accept.
    pub listen: String,
    /// Where to forward to.
    pub to: String,
    /// Which side, and over what.
    pub side: Side,
    /// Level of the compression of what is sent.
    pub level: Option<i32>,
    /// Show nothing.
    pub quiet: bool,
}

/// A side of the tunnel, with the settings of what carries it.
#[derive(Debug)]
pub enum Side {
    /// Accepts streams of FastWire.
    FastwireServer(ServerSettings),
    /// Opens streams of FastWire.
    FastwireClient(ClientSettings),
    /// Accepts or opens sessions of KCP.
    Kcp(Role, KcpConfig),
}

/// What the arguments say, as they stand.
#[derive(Default)]
struct Given {
    listen: Option<String>,
    to: Option<String>,
    key: Option<Zeroizing<String>>,
    over_kcp: bool,
    level: Option<i32>,
    mtu: Option<String>,
    quiet: bool,
    identity: Option<String>,
    pin: Option<PublicKey>,
    known_hosts: Option<String>,
    crypt: Option<CryptKind>,
    mode: Option<NoDelay>,
    fec: Option<FecRatio>,
    window: Option<usize>,
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
    let mut given = read(rest)?;
    let listen = given.listen.take().ok_or("--listen is missing: where to accept, such as 127.0.0.1:8080")?;
    let to = given.to.take().ok_or("--to is missing: where to forward to, such as 127.0.0.1:80")?;
    let key = given.key.take().or_else(|| environment("FASTWIRE_TUNNEL_KEY").map(Zeroizing::new));
    let key = key.filter(|key| !key.is_empty());
    let (level, quiet) = (given.level, given.quiet);
    let side = if given.over_kcp { kcp(role, given, key)? } else { fastwire(role, given, key)? };
    Ok(Some(Options { listen, to, side, level, quiet }))
}

fn read(arguments: &[String]) -> Result<Given, String> {
    let mut given = Given::default();
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        if option == "--quiet" {
            given.quiet = true;
            continue;
        }
        let mut value = || rest.next().cloned().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--listen" => given.listen = Some(value()?),
            "--to" => given.to = Some(value()?),
            "--key" => given.key = Some(value()?.into()),
            "--key-file" => given.key = Some(first_line(&value()?)?),
            "--over" => {
                given.over_kcp = match value()?.as_str() {
                    "fastwire" => false,
                    "kcp" => true,
                    other => return Err(format!("--over {other:?}: choose fastwire or kcp")),
                }
            }
            "--compress" => given.level = Some(within(option, &value()?, 1, 19)? as i32),
            "--mtu" => given.mtu = Some(value()?),
            "--identity" => given.identity = Some(value()?),
            "--pin" => given.pin = Some(pin(&value()?)?),
            "--known-hosts" => given.known_hosts = Some(value()?),
            "--crypt" => given.crypt = Some(value()?.parse().map_err(|error| format!("--crypt: {error}"))?),
            "--mode" => given.mode = Some(mode(&value()?)?),
            "--fec" => given.fec = Some(ratio(&value()?)?),
            "--window" => given.window = Some(within(option, &value()?, 1, 65_535)?),
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(given)
}

fn fastwire(role: Role, given: Given, key: Option<Zeroizing<String>>) -> Result<Side, String> {
    let foreign = [
        ("--crypt", given.crypt.is_some()),
        ("--mode", given.mode.is_some()),
        ("--window", given.window.is_some()),
    ];
    refuse(&foreign, "is KCP's: leave it out, or choose --over kcp")?;
    let mtu = given.mtu.as_deref().map(|text| within("--mtu", text, 1200, 9000)).transpose()?.unwrap_or(1200);
    let psk = key.map(|key| stretched(&key));
    let fec = given.fec.map(share).transpose()?;
    match role {
        Role::Server => {
            let foreign = [("--pin", given.pin.is_some()), ("--known-hosts", given.known_hosts.is_some())];
            refuse(&foreign, "is a client's")?;
            if psk.is_none() && given.identity.is_none() {
                return Err("nobody could know this server: give a passphrase (--key, --key-file or \
                            FASTWIRE_TUNNEL_KEY, the same at both ends), or --identity FILE for a key that clients pin"
                    .into());
            }
            let identity = given.identity.map(Into::into);
            Ok(Side::FastwireServer(ServerSettings { identity, psk, mtu, fec }))
        }
        Role::Client => {
            refuse(&[("--identity", given.identity.is_some())], "is a server's")?;
            if psk.is_none() && given.pin.is_none() && given.known_hosts.is_none() {
                return Err("anybody could play the server: give a passphrase (--key, --key-file or \
                            FASTWIRE_TUNNEL_KEY, the same at both ends), --pin KEY or --known-hosts FILE"
                    .into());
            }
            let known_hosts = given.known_hosts.map(Into::into);
            Ok(Side::FastwireClient(ClientSettings { pin: given.pin, known_hosts, psk, mtu, fec }))
        }
    }
}

fn kcp(role: Role, given: Given, key: Option<Zeroizing<String>>) -> Result<Side, String> {
    let foreign = [
        ("--identity", given.identity.is_some()),
        ("--pin", given.pin.is_some()),
        ("--known-hosts", given.known_hosts.is_some()),
    ];
    refuse(&foreign, "is FastWire's, KCP knows a passphrase only: leave it out, or choose --over fastwire")?;
    let key =
        key.ok_or("no key: give --key, --key-file or FASTWIRE_TUNNEL_KEY, the same secret at both ends")?;
    let mtu = given.mtu.as_deref().map(|text| within("--mtu", text, 100, 1500)).transpose()?.unwrap_or(1400);
    let crypt = Crypt::from_passphrase(given.crypt.unwrap_or(CryptKind::Aes128Gcm), &key);
    let window = given.window.unwrap_or(1024) as u32;
    let nodelay = given.mode.unwrap_or(NoDelay::FAST3);
    let config = KcpConfig::new(crypt).stream(true).nodelay(nodelay).fec(given.fec).mtu(mtu);
    let config = config.window(window, window).keepalive(Some(KEEPALIVE)).idle_timeout(Some(GONE));
    Ok(Side::Kcp(role, config))
}

fn refuse(options: &[(&str, bool)], why: &str) -> Result<(), String> {
    match options.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(format!("{option} {why}")),
        None => Ok(()),
    }
}

/// FastWire's groups are as long as the traffic makes them: of a ratio only the share of parity matters.
fn share(ratio: FecRatio) -> Result<Fec, String> {
    let percent = (100 * ratio.parity()).div_ceil(ratio.data());
    match u16::try_from(percent) {
        Ok(percent @ 1..=400) => Ok(Fec::percent(percent)),
        _ => Err(format!(
            "--fec {}+{}: over FastWire at most four times the data",
            ratio.data(),
            ratio.parity()
        )),
    }
}

/// The pre-shared key of a passphrase.
fn stretched(passphrase: &str) -> PreSharedKey {
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha256>(passphrase.as_bytes(), SALT, ROUNDS, &mut *key);
    PreSharedKey::new(*key)
}

fn pin(text: &str) -> Result<PublicKey, String> {
    let mut key = [0; 32];
    let fits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (at, byte) in key.iter_mut().enumerate().filter(|_| fits) {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap_or_default();
    }
    if fits { Ok(PublicKey::from_bytes(key)) } else { Err(format!("--pin {text:?}: give 64 hex digits")) }
}

/// A key as `--pin` takes it.
pub fn readable(key: &PublicKey) -> String {
    key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
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

fn first_line(path: &str) -> Result<Zeroizing<String>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("--key-file {path}: {error}"))?;
    let text = Zeroizing::new(text);
    Ok(text.lines().next().unwrap_or_default().to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Options>, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&arguments, |_| None)
    }

    fn side(line: &str) -> Side {
        parsed(line).unwrap().unwrap().side
    }

    #[test]
    fn the_lines_of_the_help_are_understood() {
        let lines: Vec<_> = HELP
            .lines()
            .filter_map(|line| line.trim().strip_prefix("fastwire-tunnel "))
            .map(|line| line.split("  ").next().unwrap())
            .collect();
        assert_eq!(lines.len(), 6);
        for line in lines {
            let is_server = line.starts_with("server");
            assert!(matches!(
                (side(line), is_server),
                (Side::FastwireServer(_), true) | (Side::FastwireClient(_), false)
            ));
        }
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
            ("server --listen a --to b", "--identity"),
            ("client --listen a --to b", "--known-hosts"),
            ("client --listen a --to b --over kcp", "--key"),
            ("client --listen a --to b --pin 12", "64 hex digits"),
            ("client --listen a --to b --key c --identity f", "a server's"),
            ("server --listen a --to b --key c --known-hosts f", "a client's"),
            ("server --listen a --to b --key c --over kcp --identity f", "--over fastwire"),
            ("server --listen a --to b --key c --fec 1+5", "four times"),
            ("server --listen a --to b --key c --mode fast", "--over kcp"),
            ("server --listen a --to b --key c --window 5", "--over kcp"),
            ("server --listen a --to b --key c --crypt aes", "--over kcp"),
            ("server --listen a --to b --key c --mtu 1199", "1200"),
            ("server --listen a --to b --key c --over kcp --fec 10", "10+3"),
            ("server --listen a --to b --key c --over kcp --fec 200+100", "256"),
            ("server --listen a --to b --key c --over kcp --mode turbo", "fast3"),
            ("server --listen a --to b --key c --over kcp --mtu 1501", "1500"),
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

    #[test]
    fn a_pin_reads_as_it_is_printed() {
        let key = PublicKey::from_bytes(std::array::from_fn(|at| 8 * at as u8));
        let Side::FastwireClient(settings) =
            side(&format!("client --listen a --to b --pin {}", readable(&key)))
        else {
            panic!("no client over FastWire")
        };
        assert_eq!(settings.pin, Some(key));
        // 64 bytes, but not as many digits
        assert!(pin(&"é".repeat(32)).is_err());
    }

    /// A connection without traffic hears of the other end several times before that is taken for gone.
    #[test]
    fn an_idle_connection_is_kept() {
        let Side::Kcp(Role::Server, kcp) = side("server --listen a --to b --key c --over kcp") else {
            panic!("no server over KCP")
        };
        assert!(kcp.keepalive.unwrap() * 4 < kcp.idle_timeout.unwrap());
    }

    #[test]
    fn the_key_may_come_from_the_environment() {
        let arguments = ["server", "--listen", "a", "--to", "b"].map(str::to_owned);
        assert!(parse(&arguments, |name| (name == "FASTWIRE_TUNNEL_KEY").then(|| "secret".into())).is_ok());
        assert!(parse(&arguments, |_| Some(String::new())).is_err());
    }
}
