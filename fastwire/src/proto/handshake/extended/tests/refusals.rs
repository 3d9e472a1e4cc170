//! Why a client is not let in, and that it learns it.

use std::time::{Duration, Instant};

use fastwire_crypto::CipherSuite;
use fastwire_reliability::{ChannelLayout, DeliveryMode};

use super::world::*;
use crate::connect_token::{ConnectTokenKey, TokenClaims, TokenKeys};
use crate::identity::Identity;
use crate::proto::handshake::extended::server::ResponseOutcome;
use crate::{ClientConfig, ClientProfile, ConnectError, ConnectionId, ServerConfig, ServerProfile};

/// Lets a client ask until it gives up, and says why it did. Half a second is the grace a refusal has.
fn verdict(server: &ServerConfig, client: &ClientConfig) -> (Option<ConnectError>, u64) {
    let start = Instant::now();
    let (mut server, mut client) = (Server::new(server, start), Client::new(client, start));
    server.router.gate.set_unix_time(1_000_000, start);
    for ms in 0..6_000 {
        let now = start + Duration::from_millis(ms);
        if let Some(error) = client.handshake.verdict(now) {
            return (Some(error), ms);
        }
        while let Some(datagram) = client.poll(now) {
            let answer = match datagram[8] {
                1 => server.connect(&datagram, address(CLIENT), now),
                _ => match server.response(&datagram, address(CLIENT), now) {
                    ResponseOutcome::Refused(refusal) => Some(refusal.bytes),
                    ResponseOutcome::Accepted(_) => return (None, ms),
                    _ => None,
                },
            };
            if let Some(answer) = answer {
                client.take(&answer, now);
            }
        }
    }
    panic!("the client never gave up");
}

#[test]
fn every_refusal_has_its_error_within_a_second() {
    let mut layout = client_config();
    layout.channel_layout =
        ChannelLayout::builder().channel(DeliveryMode::Unreliable, 0).build().expect("a layout");
    let mut suite = client_config();
    suite.cipher_preference = vec![CipherSuite::ChaCha20Poly1305];
    let mut aes = server_config();
    aes.cipher_preference = vec![CipherSuite::Aes128Gcm];
    let mut other_key = pinning_config();
    other_key.pinned = Some(Identity::from_secret([77; 32]).public_key());
    let key = ConnectTokenKey::new([8; 32]);
    let claims = TokenClaims { client_id: 1, server_id: 3, expiry: 2_000_000, user_data: [0; 64] };
    let with_token = |key: &ConnectTokenKey, claims: TokenClaims| {
        let connect_token = Some(key.issue(&claims).expect("a token"));
        ClientConfig { connect_token, ..ClientConfig::default() }
    };
    let server = |current: &ConnectTokenKey, previous: Option<&ConnectTokenKey>| {
        let keys = TokenKeys { previous: previous.cloned(), ..TokenKeys::new(current.clone(), 3) };
        ServerConfig {
            token_keys: Some(keys),
            require_token: true,
            profile: ServerProfile::Auto,
            ..server_config()
        }
    };
    let tokens = server(&key, None);
    let other = ConnectTokenKey::new([9; 32]);
    let base_only = ClientConfig { profile: ClientProfile::BaseOnly, ..ClientConfig::default() };
    let cases = [
        (&server_config(), layout, Some(ConnectError::LayoutDiffers)),
        (&aes, suite, Some(ConnectError::SuiteRefused)),
        (&server_config(), other_key, Some(ConnectError::UnknownServerKey)),
        (&tokens, client_config(), Some(ConnectError::TokenRequired)),
        (&tokens, with_token(&key, claims), None),
        (&tokens, with_token(&key, TokenClaims { server_id: 0, ..claims }), None),
        (&server(&other, Some(&key)), with_token(&key, claims), None),
        (&tokens, with_token(&other, claims), Some(ConnectError::NotAuthorised)),
        (
            &tokens,
            with_token(&key, TokenClaims { server_id: 4, ..claims }),
            Some(ConnectError::NotAuthorised),
        ),
        (
            &tokens,
            with_token(&key, TokenClaims { expiry: 1_000_000, ..claims }),
            Some(ConnectError::NotAuthorised),
        ),
        (&server_config(), with_token(&key, claims), Some(ConnectError::NotAuthorised)),
        (&tokens, base_only, Some(ConnectError::NotAuthorised)),
    ];
    for (index, (server, client, expected)) in cases.into_iter().enumerate() {
        let (error, ms) = verdict(server, &client);
        assert_eq!(error, expected, "case {index}");
        assert!(ms <= 1_000, "case {index} took {ms} ms");
    }
}

/// Who shares no secret, or is not who was pinned, stays silent: the client says so when its time is up.
#[test]
fn an_answer_that_never_comes_is_not_mere_silence() {
    let mut client = client_config();
    client.profile = ClientProfile::Auto;
    client.psk = Some([1; 32].into());
    let (error, _) = verdict(&server_config(), &client);
    assert_eq!(error, Some(ConnectError::Unconfirmed { after: Duration::from_secs(5) }));
}

/// Without knowing what time it is, no token is good.
#[test]
fn a_server_without_a_clock_takes_no_token() {
    let now = Instant::now();
    let key = ConnectTokenKey::new([8; 32]);
    let claims = TokenClaims { client_id: 1, server_id: 0, expiry: u64::MAX, user_data: [0; 64] };
    let mut client = client_config();
    client.profile = ClientProfile::Auto;
    client.connect_token = Some(key.issue(&claims).expect("a token"));
    let mut server = server_config();
    server.token_keys = Some(TokenKeys::new(key, 1));
    let (mut server, mut client) = (Server::new(&server, now), Client::new(&client, now));
    assert!(shake(&mut server, &mut client, now).is_none());
    assert_eq!((server.stats.tokens_refused, server.stats.key_agreements), (1, 0));
}

/// One address gets its burst of key agreements and no more, whatever else the server has to give; when no place is left none are
/// done at all.
#[test]
fn key_agreements_are_rationed() {
    let now = Instant::now();
    let mut server = Server::new(&server_config(), now);
    let limits = server.config.limits.clone();
    let mut accepted = 0;
    let mut busy = 0;
    for n in 0..500 {
        let mut client = Client::new(&client_config(), now);
        let connect = client.poll(now).expect("asks");
        let challenge = server.connect(&connect, address(CLIENT), now).expect("answers");
        assert!(client.take(&challenge, now));
        match server.response(&client.poll(now).expect("answers"), address(CLIENT), now) {
            ResponseOutcome::Accepted(agreed) => {
                accepted += 1;
                server.router.bind_cookie(agreed.cookie, ConnectionId::new(n, 0), now);
            }
            ResponseOutcome::Refused(refusal) => {
                assert_eq!(refusal.bytes[8..10], [8, 5]);
                busy += 1;
            }
            _ => panic!("neither in nor out"),
        }
    }
    assert_eq!(
        (accepted, busy),
        (limits.key_agreements_per_address * 2, 500 - limits.key_agreements_per_address * 2)
    );
    assert_eq!(server.stats.key_agreements_refused, u64::from(busy));
    server.connections = server.router.max_connections;
    let mut client = Client::new(&client_config(), now);
    server.connections -= 1;
    let connect = client.poll(now).expect("asks");
    let challenge = server.connect(&connect, address(CLIENT), now).expect("answers");
    assert!(client.take(&challenge, now));
    server.connections += 1;
    let done = server.stats.key_agreements;
    let outcome = server.response(&client.poll(now).expect("answers"), address(CLIENT), now);
    assert!(matches!(outcome, ResponseOutcome::Refused(refusal) if refusal.bytes[8..10] == [8, 0]));
    assert_eq!(server.stats.key_agreements, done);
}
