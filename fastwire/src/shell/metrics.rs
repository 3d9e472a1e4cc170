//! The figures of a server through the `metrics` facade, for whatever recorder the application installs.
//!
//! Names and meanings are in docs/operations.md. Without a recorder this costs a comparison every 100 ms.

use metrics::{counter, gauge, histogram};

use crate::{ConnectionStats, DisconnectReason, EndpointStats, ServerHealth};

/// Every counter with its name.
macro_rules! counters {
    ($endpoint:expr, $stats:expr, [$($field:ident),* $(,)?]) => {{
        // A counter that is missing here would go unseen.
        let EndpointStats { $($field),* } = $stats;
        $(counter!(concat!("fastwire_", stringify!($field), "_total"), "endpoint" => $endpoint.clone()).absolute($field);)*
    }};
}

/// Shows what a server has done and how it is.
pub(super) fn show(endpoint: &str, health: &ServerHealth) {
    let endpoint = endpoint.to_owned();
    counters!(
        endpoint,
        health.stats,
        [
            datagrams_received,
            bytes_received,
            datagrams_sent,
            bytes_sent,
            unroutable,
            strays,
            malformed_handshakes,
            connects_received,
            challenges_sent,
            connects_refused,
            rejected,
            handshakes_expired,
            handshakes_dismissed,
            key_agreements,
            key_agreements_refused,
            responses_received,
            cookies_refused,
            tokens_refused,
            responses_forged,
            info_answered,
            info_refused,
            veiled_stale,
            handshakes_unobserved,
            compressions_shared,
            connections_established,
            connections_ended,
        ]
    );
    counter!("fastwire_memory_shed_total", "endpoint" => endpoint.clone()).absolute(health.memory_shed);
    for (name, value) in [
        ("fastwire_connections", health.connections as f64),
        ("fastwire_connections_max", health.max_connections as f64),
        ("fastwire_pending_handshakes", health.pending_handshakes as f64),
        ("fastwire_bans", health.bans as f64),
        ("fastwire_memory_held_bytes", health.memory_held as f64),
        ("fastwire_memory_limit_bytes", health.memory_limit as f64),
        ("fastwire_uptime_seconds", health.uptime.as_secs_f64()),
    ] {
        gauge!(name, "endpoint" => endpoint.clone()).set(value);
    }
}

/// Shows what a connection was like, once it is over.
pub(super) fn show_ended(endpoint: &str, reason: DisconnectReason, stats: &ConnectionStats) {
    let endpoint = endpoint.to_owned();
    let reason = match reason {
        DisconnectReason::Graceful => "graceful",
        DisconnectReason::Timeout => "timeout",
        DisconnectReason::Error => "error",
        DisconnectReason::Rejected => "rejected",
        DisconnectReason::Kicked => "kicked",
        DisconnectReason::Replaced => "replaced",
    };
    counter!("fastwire_disconnects_total", "endpoint" => endpoint.clone(), "reason" => reason).increment(1);
    for (name, value) in [
        ("fastwire_connection_seconds", stats.uptime.as_secs_f64()),
        ("fastwire_connection_rtt_seconds", stats.rtt.as_secs_f64()),
        ("fastwire_connection_loss_ratio", stats.packet_loss),
        ("fastwire_connection_retransmits", stats.retransmits as f64),
    ] {
        histogram!(name, "endpoint" => endpoint.clone()).record(value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;

    /// Notes the names it hears.
    #[derive(Default)]
    struct Names(Mutex<Vec<String>>);

    impl Names {
        fn note(&self, key: &Key) {
            assert!(key.labels().any(|label| label.key() == "endpoint" && label.value() == "here"));
            self.0.lock().expect("not poisoned").push(key.name().to_owned());
        }
    }

    impl Recorder for Names {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            self.note(key);
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            self.note(key);
            Gauge::noop()
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            self.note(key);
            Histogram::noop()
        }
    }

    #[test]
    fn every_name_is_documented() {
        let names = Names::default();
        metrics::with_local_recorder(&names, || {
            show("here", &ServerHealth::default());
            show_ended("here", DisconnectReason::Kicked, &ConnectionStats::default());
        });
        let names = names.0.into_inner().expect("not poisoned");
        assert!(names.len() > 30, "{names:?}");
        let text = include_str!("../../../docs/operations.md");
        for name in &names {
            // Counters are told by their rule.
            let field = name.strip_prefix("fastwire_").and_then(|name| name.strip_suffix("_total"));
            let told = field.is_some_and(|field| text.contains(&format!("`{field}`")));
            assert!(told || text.contains(&format!("`{name}`")), "docs/operations.md does not name {name}");
        }
    }
}
