//! The key log's lines open every packet of the connection they speak of, and both ends write the same ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastwire::crypto::extended::HeaderMask;
use fastwire::crypto::{Aead, Cipher, CipherSuite, Opener, Prk};
use fastwire::wire::Control;
use fastwire::{KeyLog, Profile};

use crate::duo::{CHALLENGE, Duo, PROFILES, Way, bare_type, configs};

/// A log into memory.
fn recorder() -> (KeyLog, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    (KeyLog::new(move |line| sink.lock().expect("lines").push(line.to_owned())), lines)
}

/// Secrets by their labels; all lines must be of one handshake.
fn secrets(lines: &[String], handshake: &[u8; 32]) -> BTreeMap<String, Vec<u8>> {
    let secrets = lines.iter().map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words.len(), 3, "{line}");
        assert_eq!(hex(words[1]), handshake, "a line of another handshake");
        (words[0].to_owned(), hex(words[2]))
    });
    secrets.collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).expect("a hex digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn key(secret: &[u8]) -> [u8; 32] {
    secret.try_into().expect("32 bytes")
}

/// Opens a short packet whose id and number take `header` bytes, with nothing but what the log says.
fn open_short(
    packet: &[u8],
    header: usize,
    suite: CipherSuite,
    mask: &[u8],
    secret: &[u8],
) -> Option<Vec<u8>> {
    let mut head = packet.get(..header)?.to_vec();
    let (body, tag) = packet.get(header..)?.split_last_chunk::<16>()?;
    let mask = HeaderMask::new(suite, &key(mask))?.mask(packet.get(header..header + 16)?.first_chunk()?);
    head[header - 4..].iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    let (mut aead_key, mut nonce) = (vec![0; suite.key_len()], [0; 12]);
    let secret = Prk::from_bytes(key(secret));
    secret.expand(&[b"key"], &mut aead_key).expect("a key");
    secret.expand(&[b"iv"], &mut nonce).expect("a vector");
    // In the first epoch the number's upper bytes are zero.
    nonce[4..8].iter_mut().zip(&head[header - 4..]).for_each(|(byte, number)| *byte ^= number);
    let mut plain = body.to_vec();
    Aead::new(suite, &aead_key).ok()?.open(&nonce, &head, &mut plain, tag).ok()?;
    Some(plain)
}

#[test]
fn its_lines_open_every_packet_and_both_ends_write_the_same() {
    for profile in PROFILES {
        for suite in [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305] {
            let (mut server, mut client) = configs(profile);
            let (server_log, server_lines) = recorder();
            let (client_log, client_lines) = recorder();
            (server.key_log, client.key_log) = (Some(server_log), Some(client_log));
            client.cipher_preference = vec![suite];
            let mut duo = Duo::new(&server, &client);
            let at_client = duo.connect();
            duo.run(Duration::from_millis(100), |_, _| true);
            let at_server = duo.server_id();
            duo.client.send(duo.now, at_client, "up it goes", 0).expect("queued");
            duo.server.send(duo.now, at_server, "down it comes", 0).expect("queued");
            duo.run(Duration::from_millis(100), |_, _| true);

            let log = duo.log.iter().map(|(_, way, _, bytes)| (*way, bytes.as_slice()));
            let (handshake, sealed): (Vec<_>, Vec<_>) =
                log.partition(|(_, bytes)| bare_type(bytes).is_some());
            let challenge = handshake.iter().find(|(_, bytes)| bare_type(bytes) == CHALLENGE);
            let (_, challenge) = challenge.expect("a CHALLENGE");
            let Ok((Control::Challenge(challenge), _)) = Control::decode(&challenge[8..]) else { panic!() };

            let lines = client_lines.lock().expect("lines").clone();
            assert_eq!(lines, *server_lines.lock().expect("lines"), "{profile:?} {suite}");
            let secrets = secrets(&lines, &challenge.token);
            assert_eq!(secrets.len(), if profile == Profile::Base { 2 } else { 4 });
            let mut openers = ["CLIENT", "SERVER"].map(|who| {
                let key = secrets.get(&format!("FASTWIRE_BASE_{who}_KEY"))?;
                Some(Opener::new(Aead::new(suite, key).expect("a key")))
            });
            let mut told = String::new();
            for (way, bytes) in sealed {
                let up = way == Way::ToServer;
                let plain = if profile == Profile::Base {
                    let mut packet = bytes.to_vec();
                    let opener = openers[usize::from(!up)].as_mut().expect("a base key");
                    opener.open(&mut packet).ok().map(|opened| packet[opened.range].to_vec())
                } else {
                    let (who, header) = if up { ("CLIENT", 12) } else { ("SERVER", 4) };
                    let secret = |what: &str| secrets[&format!("FASTWIRE_{who}_{what}")].as_slice();
                    open_short(bytes, header, suite, secret("MASK"), secret("SECRET_0"))
                };
                told.push_str(&String::from_utf8_lossy(&plain.expect("every packet opens")));
            }
            assert!(told.contains("up it goes") && told.contains("down it comes"), "{profile:?} {suite}");
        }
    }
}

#[test]
fn a_file_gets_whole_lines_and_is_for_its_owner_alone() {
    let path = std::env::temp_dir().join(format!("fastwire-key-log-{}", std::process::id()));
    let (mut server, client) = configs(Profile::Extended);
    for runs in 1..=2 {
        server.key_log = Some(KeyLog::append_to(&path).expect("a file"));
        Duo::connected(&server, &client);
        let text = std::fs::read_to_string(&path).expect("the file");
        assert_eq!(text.lines().count(), 4 * runs, "appended, never replaced");
        assert!(text.ends_with('\n') && text.lines().all(|line| line.starts_with("FASTWIRE_")));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
    }
    std::fs::remove_file(&path).expect("removed");
    assert!(KeyLog::append_to(path.join("nowhere")).is_err());
}
