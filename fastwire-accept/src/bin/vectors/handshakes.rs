//! Handshakes with fixed keys, and the first short packets after them.

use fastwire::crypto::extended::{CookieKey, seal_token, sha256, short_hash};
use fastwire::crypto::{Aead, Cipher as _, CipherSuite, KeyAgreement as _, KeyPair, Prk};
use fastwire::wire::extended::{ChallengeTrailer, ConnectTrailer, Frame, Params, Response};
use fastwire::wire::{CONTROL_PREFIX, Challenge, Connect, Control, Features, PROTOCOL_VERSION};
use serde_json::{Value, json};

use crate::protection::{Direction, expand};
use crate::{first, hex, made_up};

/// Modes of the channels, a byte each: the default layout.
const LAYOUT: [u8; 4] = [0, 1, 2, 3];
const CLIENT: &str = "198.51.100.7:5000";

/// What both ends bring to one handshake.
struct Case {
    name: &'static str,
    suite: CipherSuite,
    pinned: bool,
    psk: Option<[u8; 32]>,
    token: bool,
    auth: &'static [u8],
}

pub(crate) fn all() -> Value {
    let (aes, chacha) = (CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305);
    let plain = Case { name: "learned key", suite: aes, pinned: false, psk: None, token: false, auth: b"" };
    let cases = [
        Case { name: "pinned key", pinned: true, ..plain },
        Case { name: "pinned key, authentication", suite: chacha, pinned: true, auth: b"let me in", ..plain },
        Case { name: "pre-shared key", psk: Some([0x70; 32]), ..plain },
        Case { name: "connect token", suite: chacha, token: true, ..plain },
        plain,
    ];
    let handshakes: Vec<Value> = cases.iter().zip(1..).map(|(case, n)| handshake(case, n)).collect();
    json!({ "handshakes": handshakes })
}

/// One handshake, datagram by datagram.
fn handshake(case: &Case, n: u8) -> Value {
    let [client_secret, identity_secret, epoch_secret, cookie_key, token_key] =
        ["client", "identity", "epoch", "cookies", "tokens"].map(|what| made_up(what, n));
    let nonce: [u8; 8] = first(&made_up("nonce", n));
    let cookie_random: [u8; 12] = first(&made_up("cookie", n));
    let server_random: [u8; 16] = first(&made_up("server", n));
    let cid: [u8; 8] = first(&made_up("id", n));
    let client = KeyPair::from_secret(client_secret);
    let identity = KeyPair::from_secret(identity_secret);
    let epoch = KeyPair::from_secret(epoch_secret);
    let s = *identity.public().as_bytes();
    // The token's secret takes the configured one's place.
    let token_psk = made_up("token psk", n);
    let psk = if case.token { Some(token_psk) } else { case.psk };
    let token = if case.token { connect_token(&token_key, &token_psk, n) } else { Vec::new() };
    let seconds = 100 + u32::from(n);

    let connect = connect_payload(case, &client, nonce, &s);
    let cookie = CookieKey::new(0, cookie_key).make(
        seconds,
        cookie_random,
        CLIENT.parse().expect("an address"),
        &connect,
    );
    let challenge = challenge_payload(case, &epoch, nonce, cookie, &s);

    let client_params = params(10 + n);
    let server_params = params(20 + n);
    let (ephemeral, with_identity) =
        (client.agree(&epoch.public()).expect("agrees"), client.agree(&identity.public()).expect("agrees"));
    let secret = [&ephemeral.as_bytes()[..], with_identity.as_bytes(), &psk.unwrap_or([0; 32])].concat();
    let prk = Prk::extract(&cookie, &secret);
    let counted = |bytes: &[u8]| [&(bytes.len() as u16).to_le_bytes(), bytes].concat();
    let th1 = sha256(&[&b"fastwire extended 1"[..], &s, &counted(&connect), &counted(&challenge)].concat());
    let key_and_nonce = expand(&prk, &[b"resp", &th1], case.suite.key_len() + 12);
    let response = response_datagram(case, &connect, cookie, &token, &client_params, &key_and_nonce);

    let th2 = sha256(&[&th1[..], &sha256(&response), &server_random].concat());
    let direction = |label: &[u8]| first(&expand(&prk, &[label, &th2], 32));
    let exporter = Prk::from_bytes(direction(b"exp"));
    let [c2s, s2c] = [b"c2s", b"s2c"].map(|label| Direction::new(case.suite, direction(label)));
    let frame = Frame::Connected { params: server_params, cid };
    let mut frame_bytes = vec![0; frame.encoded_len(true)];
    frame.encode(&mut frame_bytes, true).expect("fits");
    let packet = s2c.seal(&[], 0, &frame_bytes).bytes;
    let connected = [&CONTROL_PREFIX[..], &[4], &server_random, &packet].concat();
    // PING and a message on channel 0; then what acknowledges them, with an answer.
    let up = [&[6, 0x22, 0, 1][..], b"hello"].concat();
    let down = [&[9, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x22, 0, 1][..], b"welcome"].concat();
    json!({
        "name": case.name,
        "suite": case.suite.id(),
        "client_address": CLIENT,
        "client_secret": hex(&client_secret),
        "client_nonce": hex(&nonce),
        "identity_secret": hex(&identity_secret),
        "epoch_secret": hex(&epoch_secret),
        "cookie_key": hex(&cookie_key),
        "cookie_random": hex(&cookie_random),
        "seconds": seconds,
        "pinned": case.pinned,
        "psk": case.psk.map(|psk| hex(&psk)),
        "token_key": case.token.then(|| hex(&token_key)),
        "token_psk": case.token.then(|| hex(&token_psk)),
        "token": hex(&token),
        "auth": hex(case.auth),
        "client_params": hex(&encoded(&client_params)),
        "server_params": hex(&encoded(&server_params)),
        "server_random": hex(&server_random),
        "cid": hex(&cid),
        "connect": hex(&connect),
        "challenge": hex(&[&CONTROL_PREFIX[..], &challenge].concat()),
        "response": hex(&response),
        "connected": hex(&connected),
        "th1": hex(&th1),
        "th2": hex(&th2),
        "c2s": keys(&c2s),
        "s2c": keys(&s2c),
        "up": { "plaintext": hex(&up), "packet": hex(&c2s.seal(&cid, 0, &up).bytes) },
        "down": { "plaintext": hex(&down), "packet": hex(&s2c.seal(&[], 1, &down).bytes) },
        "exporter_label": "login",
        "exported": hex(&expand(&exporter, &[b"login"], 32)),
    })
}

fn params(ack_delay: u8) -> Params {
    Params {
        max_datagram: 1200,
        receive_budget_kib: 8192,
        max_message_kib: 4096,
        max_ack_delay_ms: ack_delay,
        idle_timeout_s: 10,
        fec_max_data: 0,
        fec_max_parity: 0,
        flags: 0,
    }
}

fn encoded(params: &Params) -> [u8; Params::LEN] {
    let mut bytes = [0; Params::LEN];
    params.encode(&mut bytes).expect("fits");
    bytes
}

fn connect_payload(case: &Case, client: &KeyPair, client_nonce: [u8; 8], s: &[u8; 32]) -> Vec<u8> {
    let control = Control::Connect(Connect {
        version: PROTOCOL_VERSION,
        application_version: 0x0102,
        public_key: *client.public().as_bytes(),
        cipher: case.suite.id(),
        compression: 0,
        dictionary_hash: None,
        features: Features::EXTENDED,
    });
    let trailer = ConnectTrailer {
        version: 1,
        suites: 1 << CipherSuite::Aes128Gcm.id() | 1 << CipherSuite::ChaCha20Poly1305.id(),
        client_nonce,
        server_key_id: if case.pinned { short_hash(s) } else { [0; 8] },
        layout_hash: short_hash(&LAYOUT),
    };
    let mut payload = vec![0; control.encoded_len() + ConnectTrailer::LEN];
    let at = control.encode(&mut payload).expect("fits");
    trailer.encode(&mut payload[at..]).expect("fits");
    payload
}

fn challenge_payload(
    case: &Case,
    epoch: &KeyPair,
    client_nonce: [u8; 8],
    cookie: [u8; 32],
    s: &[u8; 32],
) -> Vec<u8> {
    let control = Control::Challenge(Challenge {
        version: PROTOCOL_VERSION,
        application_version: 0x0102,
        public_key: *epoch.public().as_bytes(),
        token: cookie,
        cipher: case.suite.id(),
        compression_ack: 0,
        features: Features::EXTENDED,
        migration_token: None,
    });
    let server_key = (!case.pinned).then_some(*s);
    let trailer = ChallengeTrailer { version: 1, token_required: case.token, client_nonce, server_key };
    let mut payload = vec![0; control.encoded_len() + 64];
    let at = control.encode(&mut payload).expect("fits");
    let len = trailer.encode(&mut payload[at..]).expect("fits");
    payload.truncate(at + len);
    payload
}

/// client id 8, psk 32, server id 8, user data 64.
fn connect_token(key: &[u8; 32], psk: &[u8; 32], n: u8) -> Vec<u8> {
    let mut plaintext = [n; 112];
    plaintext[..8].copy_from_slice(&77u64.to_le_bytes());
    plaintext[8..40].copy_from_slice(psk);
    plaintext[40..48].copy_from_slice(&3u64.to_le_bytes());
    seal_token(key, first(&made_up("token nonce", n)), 2_000_000_000, &plaintext).expect("seals").to_vec()
}

fn response_datagram(
    case: &Case,
    connect: &[u8],
    cookie: [u8; 32],
    token: &[u8],
    params: &Params,
    key_and_nonce: &[u8],
) -> Vec<u8> {
    let mut sealed = [&encoded(params)[..], case.auth, &[0; 16]].concat();
    let mut out = vec![0; Response::MAX_LEN];
    let response = Response { connect, cookie, token, sealed: &sealed };
    let (_, associated) = response.encode(&mut out).expect("fits");
    let (key, nonce) = key_and_nonce.split_at(case.suite.key_len());
    let data = sealed.len() - 16;
    let cipher = Aead::new(case.suite, key).expect("a key");
    let tag = cipher.seal(&first(nonce), &out[..associated], &mut sealed[..data]).expect("seals");
    sealed[data..].copy_from_slice(&tag);
    [&out[..associated], &sealed].concat()
}

/// The keys of one direction in its first epoch.
fn keys(direction: &Direction) -> Value {
    json!({ "hp": hex(&direction.hp), "key": hex(&direction.key), "iv": hex(&direction.iv) })
}
