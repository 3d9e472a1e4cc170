//! The stages of a flood, one after the other on the same server: peace, a slow flood, junk, the floor's rate, twice that, after.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attack::{Attack, Kind};
use super::crowd::{Crowd, Tally};
use super::record::record;
use super::report::{Report, Stage};
use super::server::ServerProcess;
use super::sink::drained_rate;
use crate::check::Profile;

/// The slow flood, in datagrams a second.
const SLOW: f64 = 8_000.0;
/// How long what is under way at the end of a stage may still take.
const SETTLE: Duration = Duration::from_secs(2);

/// How long each stage takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(super) clients: usize,
    /// Peace, and each flood that nobody joins under.
    pub(super) each: Duration,
    /// The flood at the floor's rate, under which newcomers join.
    pub(super) joining: Duration,
    /// Newcomers a second.
    pub(super) newcomers: f64,
    /// A step of the search for the floor's rate.
    pub(super) sink: Duration,
}

impl Plan {
    /// About a minute.
    pub(crate) const FULL: Self = Self {
        clients: 100,
        each: Duration::from_secs(8),
        joining: Duration::from_secs(14),
        newcomers: 5.0,
        sink: Duration::from_secs(1),
    };
    /// Less than ten seconds.
    pub(crate) const QUICK: Self = Self {
        clients: 100,
        each: Duration::from_millis(1000),
        joining: Duration::from_millis(1800),
        newcomers: 8.0,
        sink: Duration::from_millis(200),
    };
}

/// Floods a server of `profile`.
pub(crate) fn run(profile: Profile, plan: Plan) -> Result<Report, String> {
    let (rate, sender_limits) = drained_rate(profile, plan.sink)?;
    let mut server = ServerProcess::start(profile)?;
    let recorded = Arc::new(record(profile, server.at)?);
    let mut crowd = Crowd::connect(profile, server.at, plan.clients)?;
    // Whatever the server needs once it has by now.
    crowd.live(plan.each / 4, 0.0, || ())?;
    crowd.settle(SETTLE);
    drop(crowd.take());

    let mut field = Field { profile, plan, server: &mut server, crowd: &mut crowd };
    let peace = field.stage("in peace", &[], 0.0)?;
    let connects = Kind::Connects;
    let mixed = Kind::Mixed(recorded);
    let slow = field.stage("CONNECTs, 8000/s", &[(&connects, SLOW)], 0.0)?;
    let junk = field.stage("garbage, empty, replayed", &[(&mixed, SLOW)], 0.0)?;
    let floor = field.stage("CONNECTs, the sink's rate", &[(&connects, rate)], plan.newcomers)?;
    let twice = field.stage("twice that", &[(&connects, rate), (&connects, rate)], 0.0)?;
    field.crowd.live(Duration::from_secs(1), 0.0, || ())?;
    drop(field.crowd.take());
    let after = field.stage("from a second after it", &[], 0.0)?;
    Ok(Report { rate, sender_limits, stages: vec![peace, slow, junk, floor, twice, after] })
}

struct Field<'a> {
    profile: Profile,
    plan: Plan,
    server: &'a mut ServerProcess,
    crowd: &'a mut Crowd,
}

impl Field<'_> {
    fn stage(
        &mut self,
        name: &'static str,
        attacks: &[(&Kind, f64)],
        newcomers: f64,
    ) -> Result<Stage, String> {
        let before = (self.server.counters()?, self.server.resident());
        let started = Instant::now();
        let attacks: Vec<Attack> = attacks
            .iter()
            .map(|(kind, rate)| Attack::start(kind, self.profile, self.server.at, Some(*rate)))
            .collect::<Result<_, _>>()?;
        let is_spoofed = attacks.iter().all(|attack| attack.is_spoofed);
        let time = if newcomers > 0.0 { self.plan.joining } else { self.plan.each };
        let mut most = before.1;
        let server = &*self.server;
        self.crowd.live(time, newcomers, || most = most.max(server.resident()))?;
        let elapsed = started.elapsed().as_secs_f64();
        let sent: u64 = attacks.into_iter().map(Attack::stop).sum();
        self.crowd.settle(SETTLE);
        let tally: Tally = self.crowd.take();
        let after = self.server.counters()?;
        let since = |name: &str| after[name].as_u64().unwrap_or(0) - before.0[name].as_u64().unwrap_or(0);
        Ok(Stage {
            name,
            is_spoofed,
            offered: sent as f64 / elapsed,
            taken: since("datagrams_received") as f64 / elapsed,
            in_time: tally.in_time(),
            missing: tally.missing,
            disconnected: tally.disconnected,
            median: tally.quantile(0.5),
            p99: tally.quantile(0.99),
            grown: most.saturating_sub(before.1),
            agreements: since("key_agreements"),
            established: since("connections_established"),
            answered: since("challenges_sent"),
            joined: tally.joined,
            kept_out: tally.kept_out,
            undecided: tally.undecided,
        })
    }
}
