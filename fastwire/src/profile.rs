//! Which profile to speak, and with what proof of identity: the extended profile's part of the configuration (PROTOCOL B1).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastwire_crypto::extended::{VeilKeys, short_hash};
use fastwire_crypto::{CipherSuite, PublicKey};
use fastwire_reliability::ChannelLayout;
use fastwire_wire::extended::Params;
use zeroize::Zeroizing;

use crate::ConfigError;
use crate::config::{ClientConfig, Limits, ServerConfig};
use crate::connect_token::{ConnectToken, TokenKeys};
use crate::connection_ids::{ConnectionIdGenerator, RandomIds};
use crate::fec::{MAX_DATA, MAX_PARITY};
use crate::identity::Identity;

/// Whether endpoints that were told nothing speak the extended profile.
const BY_DEFAULT: bool = true;

/// How long our acknowledgements may wait, in milliseconds.
pub(crate) const MAX_ACK_DELAY_MS: u8 = 10;
/// Connection timeouts that the extended profile can tell a peer (PROTOCOL B2).
const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(255));
/// Most bytes of application authentication in RESPONSE (PROTOCOL B2).
pub(crate) const MAX_AUTH: usize = 512;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// PROTOCOL part A.
    Base,
    /// PROTOCOL part B.
    Extended,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ClientProfile {
    /// [`Require`](Self::Require) where a server key is pinned or a pre-shared key, connect token or application
    /// authentication is set; else [`Prefer`](Self::Prefer).
    #[default]
    Auto,
    /// The extended profile or no connection.
    Require,
    /// The extended profile, and the base profile with a server that does not speak it.
    Prefer,
    /// The base profile only.
    BaseOnly,
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ServerProfile {
    /// [`ExtendedOnly`](Self::ExtendedOnly) where a pre-shared key is set, or a connect token or application authentication
    /// required; else [`Both`](Self::Both).
    #[default]
    Auto,
    /// Turns away clients that do not speak the extended profile.
    ExtendedOnly,
    /// Either, as the client wishes.
    Both,
    /// The base profile only.
    BaseOnly,
}

/// A secret of 32 bytes that both ends were given beforehand; wiped on drop and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PreSharedKey(Zeroizing<[u8; 32]>);

impl PreSharedKey {
    /// Takes 32 secret bytes, which must come from a source fit for keys: a password is not one.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for PreSharedKey {
    fn from(key: [u8; 32]) -> Self {
        Self::new(key)
    }
}

impl fmt::Debug for PreSharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreSharedKey(..)")
    }
}

/// What the core knows of the extended profile's configuration: checked, with the defaults worked out.
#[derive(Debug, Clone)]
pub(crate) struct ExtendedConfig {
    /// Speak the extended profile.
    pub(crate) spoken: bool,
    /// Speak the base profile.
    pub(crate) base: bool,
    /// Suites of `cipher_preference` that it may use, as bits (PROTOCOL B2).
    pub(crate) suites: u8,
    pub(crate) layout_hash: [u8; 8],
    /// What we accept, and tell the peer.
    pub(crate) params: Params,
    pub(crate) psk: Option<PreSharedKey>,
    /// Client: the only server key to accept.
    pub(crate) pinned: Option<PublicKey>,
    /// Client: what lets us in.
    pub(crate) token: Option<ConnectToken>,
    /// Client: sent, sealed, with RESPONSE. Empty: nothing.
    pub(crate) auth: Bytes,
    /// Server: who we are.
    pub(crate) identity: Option<Identity>,
    /// Server: which connect tokens open.
    pub(crate) token_keys: Option<TokenKeys>,
    /// Server: nobody comes in without one.
    pub(crate) require_token: bool,
    /// Server: the application is asked before a client is let in.
    pub(crate) authorize: bool,
    /// Server: which ids clients use.
    pub(crate) ids: Arc<dyn ConnectionIdGenerator>,
    /// Handshakes and ids look like noise.
    pub(crate) veil: Option<Arc<VeilKeys>>,
}

impl ExtendedConfig {
    /// What a server's configuration comes to.
    pub(crate) fn server(config: &ServerConfig) -> Result<Self, ConfigError> {
        if config.require_token && config.token_keys.is_none() {
            return Err(ConfigError::Contradiction {
                field: "require_token",
                other: "token_keys",
                why: "without a key no connect token opens; set token_keys",
            });
        }
        if config.veil && config.identity.is_none() {
            return Err(ConfigError::Contradiction {
                field: "veil",
                other: "identity",
                why: "the veil is made of the key that clients pin; set identity",
            });
        }
        let sample = config.connection_ids.generate([0x55; 8]);
        if config.veil && config.connection_ids.destination(&sample).is_some() {
            return Err(ConfigError::Contradiction {
                field: "veil",
                other: "connection_ids",
                why: "nobody can route by ids behind the veil; use RandomIds",
            });
        }
        let demand = first_set(&[
            ("psk", config.psk.is_some()),
            ("require_token", config.require_token),
            ("authorize", config.authorize),
            ("veil", config.veil),
        ]);
        let (spoken, base) = match (config.profile, demand) {
            (ServerProfile::Auto, None) => (BY_DEFAULT, true),
            (ServerProfile::Auto, Some(_)) | (ServerProfile::ExtendedOnly, _) => (true, false),
            (ServerProfile::Both, None) => (true, true),
            (ServerProfile::BaseOnly, None) => (false, true),
            (ServerProfile::Both | ServerProfile::BaseOnly, Some(field)) => {
                return Err(needs_extended(field));
            }
        };
        let mut extended = Self {
            psk: config.psk.clone(),
            identity: config.identity.clone(),
            token_keys: config.token_keys.clone(),
            require_token: config.require_token,
            authorize: config.authorize,
            ids: Arc::clone(&config.connection_ids),
            veil: veil_of(config.identity.as_ref().filter(|_| config.veil).map(Identity::public_key)),
            ..Self::common(&config.channel_layout, &config.cipher_preference, config.mtu, &config.limits)
        };
        extended.params.flags |= if config.clock_sync { Params::CLOCK } else { 0 };
        extended.resolved(spoken, base, config.connection_timeout, &config.channel_layout)
    }

    /// What a client's configuration comes to.
    pub(crate) fn client(config: &ClientConfig) -> Result<Self, ConfigError> {
        let auth = config.auth.len();
        if auth > MAX_AUTH {
            return Err(ConfigError::range("auth", format!("{auth} bytes"), "at most 512 bytes"));
        }
        let proven = config.pinned.is_some() || config.psk.is_some() || config.connect_token.is_some();
        if auth > 0 && !proven && !config.auth_to_anyone {
            return Err(ConfigError::Contradiction {
                field: "auth",
                other: "pinned",
                why: "anybody could be the server that reads it; pin the server's key, set psk or connect_token, \
                      or say auth_to_anyone",
            });
        }
        if config.veil && config.pinned.is_none() {
            return Err(ConfigError::Contradiction {
                field: "veil",
                other: "pinned",
                why: "the veil is made of the server's key; pin it",
            });
        }
        let demand = first_set(&[
            ("pinned", config.pinned.is_some()),
            ("psk", config.psk.is_some()),
            ("connect_token", config.connect_token.is_some()),
            ("auth", auth > 0),
        ]);
        let (spoken, base) = match (config.profile, demand) {
            (ClientProfile::Auto, None) => (BY_DEFAULT, true),
            (ClientProfile::Auto, Some(_)) | (ClientProfile::Require, _) => (true, false),
            (ClientProfile::Prefer, None) => (true, true),
            (ClientProfile::BaseOnly, None) => (false, true),
            (ClientProfile::Prefer | ClientProfile::BaseOnly, Some(field)) => {
                return Err(needs_extended(field));
            }
        };
        let mut extended = Self {
            psk: config.psk.clone(),
            pinned: config.pinned,
            token: config.connect_token.clone(),
            auth: config.auth.clone(),
            veil: veil_of(config.pinned.filter(|_| config.veil)),
            ..Self::common(&config.channel_layout, &config.cipher_preference, config.mtu, &config.limits)
        };
        extended.params.flags |= if config.clock_sync { Params::CLOCK } else { 0 };
        extended.resolved(spoken, base, config.connection_timeout, &config.channel_layout)
    }

    fn common(layout: &ChannelLayout, suites: &[CipherSuite], mtu: usize, limits: &Limits) -> Self {
        let shape: Vec<u8> = layout.shape().collect();
        let (budget, message) = budgets(layout, limits);
        Self {
            spoken: false,
            base: true,
            suites: suites.iter().filter(|s| **s != CipherSuite::None).fold(0, |bits, s| bits | 1 << s.id()),
            layout_hash: short_hash(&shape),
            params: Params {
                max_datagram: mtu.try_into().unwrap_or(u16::MAX),
                receive_budget_kib: budget,
                max_message_kib: message,
                max_ack_delay_ms: MAX_ACK_DELAY_MS,
                idle_timeout_s: u8::MAX,
                fec_max_data: if limits.fec_bytes == 0 { 0 } else { MAX_DATA },
                fec_max_parity: if limits.fec_bytes == 0 { 0 } else { MAX_PARITY },
                flags: 0,
            },
            psk: None,
            pinned: None,
            token: None,
            auth: Bytes::new(),
            identity: None,
            token_keys: None,
            require_token: false,
            authorize: false,
            ids: Arc::new(RandomIds),
            veil: None,
        }
    }

    fn resolved(
        mut self,
        spoken: bool,
        base: bool,
        timeout: Duration,
        layout: &ChannelLayout,
    ) -> Result<Self, ConfigError> {
        // Without a cipher there is no extended profile (PROTOCOL B1).
        self.spoken = spoken && (self.suites != 0 || !base);
        self.base = base;
        if self.spoken && self.suites == 0 {
            return Err(ConfigError::Contradiction {
                field: "cipher_preference",
                other: "profile",
                why: "the extended profile needs a cipher; allow one, or set the profile to BaseOnly",
            });
        }
        if self.spoken {
            if timeout < TIMEOUTS.0 || timeout > TIMEOUTS.1 {
                let allowed = "3 s to 255 s, or anything from 100 ms to 1 h where the profile is BaseOnly";
                return Err(ConfigError::range("connection_timeout", format!("{timeout:?}"), allowed));
            }
            if usize::from(self.params.receive_budget_kib) < layout.reliable_channels() {
                let budget = format!("{} KiB", self.params.receive_budget_kib);
                let allowed = "at least 1 KiB for each reliable channel";
                return Err(ConfigError::range("limits.extended_receive_budget", budget, allowed));
            }
            // In range; a fraction of a second counts as a whole one.
            self.params.idle_timeout_s = timeout.as_millis().div_ceil(1000).try_into().unwrap_or(u8::MAX);
        }
        Ok(self)
    }

    /// What a handshake puts into its keys: a connect token's secret, else the configured one.
    pub(crate) fn client_psk(&self) -> Option<&PreSharedKey> {
        self.token.as_ref().map(ConnectToken::psk).or(self.psk.as_ref())
    }
}

fn veil_of(server_key: Option<PublicKey>) -> Option<Arc<VeilKeys>> {
    // No 32 bytes are refused.
    server_key.and_then(|key| VeilKeys::new(key.as_bytes()).ok()).map(Arc::new)
}

/// Receive budget and largest message, in KiB (PROTOCOL B2).
fn budgets(layout: &ChannelLayout, limits: &Limits) -> (u16, u16) {
    let channels = layout.reliable_channels().max(1);
    let budget = limits.extended_receive_budget.unwrap_or((4 << 20) * channels) >> 10;
    let budget = u16::try_from(budget).unwrap_or(u16::MAX);
    let message = (limits.max_message >> 10).min(usize::from(budget) / channels);
    (budget, u16::try_from(message).unwrap_or(u16::MAX).max(1))
}

/// Whether a peer's parameters can work with this layout (PROTOCOL B2: anything else is a protocol error).
pub(crate) fn is_acceptable(peer: &Params, layout: &ChannelLayout) -> bool {
    let channels = layout.reliable_channels().max(1);
    peer.is_valid() && usize::from(peer.receive_budget_kib) / channels >= usize::from(peer.max_message_kib)
}

fn first_set(fields: &[(&'static str, bool)]) -> Option<&'static str> {
    fields.iter().find(|(_, set)| *set).map(|(field, _)| *field)
}

fn needs_extended(field: &'static str) -> ConfigError {
    ConfigError::Contradiction {
        field,
        other: "profile",
        why: "the base profile knows nothing of it; leave the profile at Auto, or require the extended one",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(change: impl FnOnce(&mut ClientConfig)) -> Result<(bool, bool), ConfigError> {
        let mut config = ClientConfig::default();
        change(&mut config);
        ExtendedConfig::client(&config).map(|extended| (extended.spoken, extended.base))
    }

    fn server(change: impl FnOnce(&mut ServerConfig)) -> Result<(bool, bool), ConfigError> {
        let mut config = ServerConfig::default();
        change(&mut config);
        ExtendedConfig::server(&config).map(|extended| (extended.spoken, extended.base))
    }

    #[test]
    fn proofs_demand_the_extended_profile() {
        type Change = fn(&mut ClientConfig);
        let key = PublicKey::from_bytes([1; 32]);
        assert_eq!(client(|_| ()), Ok((BY_DEFAULT, true)));
        let token = || {
            let claims = crate::TokenClaims { client_id: 1, server_id: 0, expiry: 1, user_data: [0; 64] };
            crate::ConnectTokenKey::new([1; 32]).issue_with(&claims, [0; 24], [2; 32].into()).expect("seals")
        };
        let changes: [Change; 2] = [
            |config| config.psk = Some([1; 32].into()),
            |config| {
                config.auth = Bytes::from_static(b"me");
                config.auth_to_anyone = true;
            },
        ];
        for change in changes {
            assert_eq!(client(change), Ok((true, false)));
            for profile in [ClientProfile::Prefer, ClientProfile::BaseOnly] {
                let result = client(|config| {
                    change(config);
                    config.profile = profile;
                });
                assert!(
                    matches!(result, Err(ConfigError::Contradiction { other: "profile", .. })),
                    "{result:?}"
                );
            }
        }
        assert_eq!(client(|config| config.pinned = Some(key)), Ok((true, false)));
        assert_eq!(client(|config| config.connect_token = Some(token())), Ok((true, false)));
        assert_eq!(server(|config| config.authorize = true), Ok((true, false)));
        assert!(server(|config| config.require_token = true).is_err(), "no token would open");
        let both = server(|config| (config.profile, config.authorize) = (ServerProfile::Both, true));
        assert!(matches!(both, Err(ConfigError::Contradiction { field: "authorize", .. })), "{both:?}");
    }

    #[test]
    fn the_veil_needs_the_servers_key_on_both_sides() {
        let unpinned = client(|config| config.veil = true);
        assert!(matches!(unpinned, Err(ConfigError::Contradiction { field: "veil", .. })), "{unpinned:?}");
        let key = PublicKey::from_bytes([1; 32]);
        assert_eq!(client(|config| (config.veil, config.pinned) = (true, Some(key))), Ok((true, false)));
        let unknown = server(|config| config.veil = true);
        assert!(matches!(unknown, Err(ConfigError::Contradiction { field: "veil", .. })), "{unknown:?}");
        let identity = Identity::from_secret([1; 32]);
        let routed = server(|config| {
            (config.veil, config.identity) = (true, Some(identity.clone()));
            let here = crate::IdDestination { server: 1, shard: 2 };
            config.connection_ids = Arc::new(crate::RoutableIds::new(here));
        });
        assert!(
            matches!(routed, Err(ConfigError::Contradiction { other: "connection_ids", .. })),
            "{routed:?}"
        );
        assert_eq!(
            server(|config| (config.veil, config.identity) = (true, Some(identity.clone()))),
            Ok((true, false))
        );
        let both = server(|config| {
            (config.veil, config.identity, config.profile) = (true, Some(identity), ServerProfile::Both);
        });
        assert!(matches!(both, Err(ConfigError::Contradiction { field: "veil", .. })), "{both:?}");
    }

    #[test]
    fn authentication_goes_to_nobody_by_accident() {
        let auth = Bytes::from_static(b"password");
        let unproven = client(|config| config.auth = auth.clone());
        assert!(matches!(unproven, Err(ConfigError::Contradiction { field: "auth", .. })), "{unproven:?}");
        let too_long =
            client(|config| (config.auth, config.psk) = (vec![0; 513].into(), Some([1; 32].into())));
        assert!(matches!(too_long, Err(ConfigError::OutOfRange { field: "auth", .. })), "{too_long:?}");
        let proven = client(|config| (config.auth, config.psk) = (vec![0; 512].into(), Some([1; 32].into())));
        assert_eq!(proven, Ok((true, false)));
    }

    #[test]
    fn what_cannot_be_told_to_a_peer_is_refused() {
        for (seconds, good) in [(2, false), (3, true), (255, true), (256, false)] {
            let timeout = Duration::from_secs(seconds);
            let with = |profile| {
                client(|config| (config.connection_timeout, config.profile) = (timeout, profile)).is_ok()
            };
            assert_eq!(with(ClientProfile::Require), good, "{seconds} s");
            assert!(with(ClientProfile::BaseOnly), "{seconds} s");
        }
        let uncovered = |profile| {
            client(|config| (config.cipher_preference, config.profile) = (vec![CipherSuite::None], profile))
        };
        assert!(uncovered(ClientProfile::Require).is_err());
        assert_eq!(uncovered(ClientProfile::Prefer), Ok((false, true)));
    }

    #[test]
    fn budgets_are_always_ones_that_a_peer_accepts() {
        use fastwire_reliability::DeliveryMode;
        for channels in [0, 1, 2, 3, 20, 256] {
            let mut builder = ChannelLayout::builder();
            for channel in 0..channels.max(1) {
                let mode =
                    if channel < channels { DeliveryMode::ReliableOrdered } else { DeliveryMode::Unreliable };
                builder = builder.channel(mode, 0);
            }
            let layout = builder.build().expect("a layout");
            for budget in [None, Some(64 << 10), Some(100 << 20)] {
                for max_message in [1 << 10, 4 << 20, usize::MAX] {
                    let config = ClientConfig {
                        channel_layout: layout.clone(),
                        profile: ClientProfile::Require,
                        limits: Limits { extended_receive_budget: budget, max_message, ..Limits::default() },
                        ..ClientConfig::default()
                    };
                    let extended = ExtendedConfig::client(&config);
                    assert_eq!(extended.is_ok(), budget != Some(64 << 10) || channels <= 64);
                    let fits = |extended: ExtendedConfig| is_acceptable(&extended.params, &layout);
                    assert!(extended.is_ok_and(fits) || channels > 64, "{channels} {budget:?} {max_message}");
                }
            }
        }
    }
}
