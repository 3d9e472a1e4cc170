//! What happened in simulated runs, added up.

use std::ops::AddAssign;

use fastwire::sim::{LinkStats, World};

use crate::check::Profile;

/// Sums and extremes over runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// What the lines did.
    pub(crate) lines: LinkStats,
    /// Of what they lost: in bursts.
    pub(crate) lost_in_bursts: u64,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    /// Packets repeated, and repeated in vain.
    pub(crate) retransmits: u64,
    pub(crate) spurious: u64,
    /// Packets made of parity.
    pub(crate) recovered: u64,
    /// Packets that left for the first time or again.
    pub(crate) packets: u64,
    /// The largest answer to an unproven address, relative to what it sent.
    pub(crate) amplification: f64,
    /// (key, nonce) pairs used twice.
    pub(crate) nonces_reused: u64,
    /// Runs repeated and found equal, datagram for datagram.
    pub(crate) replayed: u64,
    /// Seconds of virtual time.
    pub(crate) seconds: f64,
}

impl Tally {
    /// Adds what the network and the meters of a world show; an error if a law of all worlds is broken.
    pub(crate) fn close(&mut self, profile: Profile, world: &mut World) -> Result<(), String> {
        let report = world.report();
        self.lines += world.network().stats();
        self.amplification = self.amplification.max(report.amplification);
        self.nonces_reused += report.nonces_reused;
        self.seconds += world.elapsed().as_secs_f64();
        if report.nonces_reused > 0 {
            return Err(format!("{} nonces used twice under one key", report.nonces_reused));
        }
        if report.oversized > 0 {
            return Err(format!("{} datagrams above the MTU", report.oversized));
        }
        // In the extended profile not everything that is acknowledged waits for room.
        if report.beyond_quota > 0 && profile != Profile::Extended {
            return Err(format!("{} packets beyond the congestion window", report.beyond_quota));
        }
        if report.over_memory > 0 {
            return Err(format!(
                "more was held than limits allow, {} times, up to {:.2} of it",
                report.over_memory, report.memory
            ));
        }
        if report.on_unproved_paths > super::MAX_ON_UNPROVED_PATHS {
            return Err(format!(
                "{:.2} times the bytes that came from an unproved path went there",
                report.on_unproved_paths
            ));
        }
        if report.amplification > super::max_amplification(profile) {
            return Err(format!("a stranger was answered with {:.2} times his bytes", report.amplification));
        }
        Ok(())
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.lost_in_bursts += other.lost_in_bursts;
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.recovered += other.recovered;
        self.retransmits += other.retransmits;
        self.spurious += other.spurious;
        self.packets += other.packets;
        self.amplification = self.amplification.max(other.amplification);
        self.nonces_reused += other.nonces_reused;
        self.replayed += other.replayed;
        self.seconds += other.seconds;
    }
}
