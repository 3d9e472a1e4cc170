//! R3: a line that is dead at times, and one whose round trip grows seventy-fold from one moment to the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastwire::congestion::CongestionMode;
use fastwire::sim::{LinkConfig, NodeId, Sealing, World};
use fastwire::wire::PacketHeader;
use fastwire::wire::extended::{Frame, Frames};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Duo, Makings, Plan, Tally, Traffic, run_seeds};

const SEEDS: u64 = 200;
const QUICK_SEEDS: u64 = 10;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Traffic has to flow again so soon after an outage.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// What a packet may be repeated in vain, and on average over so many packets after the step.
const MAX_COPIES: u32 = 4;
const MAX_MEAN: f64 = 1.0;
const AFTER_STEP: usize = 100;
const MESSAGE_LEN: u32 = 60;

/// R3.
pub(super) struct Outages;

impl Check for Outages {
    fn id(&self) -> &'static str {
        "R3"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base, Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let profile = run.profile;
        let count = if run.quick { QUICK_SEEDS } else { SEEDS };
        let holes = run_seeds(run, 1..=count, |seed, verbose| black_holes(profile, seed, verbose));
        let outage = run_seeds(run, 1..=count, |seed, verbose| one_outage(profile, seed, verbose));
        let step = run_seeds(run, 1..=count, |seed, verbose| step(profile, seed, verbose));
        let failures = holes.failures.len() + outage.failures.len() + step.failures.len();
        let (back, copies) = (&outage.total, &step.total);
        let figure = format!(
            "3 × {count} seeds, {failures} failures; back after {:.2} s at most; {} spurious copies of a packet at most, \
             {:.2} on average after the step at most",
            back.longest, copies.most_copies, copies.mean_copies,
        );
        let outcome = Outcome::new(failures == 0, figure)
            .fault("swallowed by black holes", holes.total.tally.lines.blacked_out)
            .fault("swallowed by the outage", outage.total.tally.lines.blacked_out)
            .fault("steps of the round trip", step.total.steps);
        let outcome = holes.explain(self.id(), outcome);
        let outcome = outage.explain(self.id(), outcome);
        step.explain(self.id(), outcome)
    }
}

#[derive(Debug, Default)]
struct Findings {
    tally: Tally,
    /// The longest wait for traffic after an outage, in seconds.
    longest: f64,
    steps: u64,
    most_copies: u32,
    /// Spurious copies a packet after the step; of all seeds the worst.
    mean_copies: f64,
}

impl std::ops::AddAssign for Findings {
    fn add_assign(&mut self, other: Self) {
        self.tally += other.tally;
        self.longest = self.longest.max(other.longest);
        self.steps += other.steps;
        self.most_copies = self.most_copies.max(other.most_copies);
        self.mean_copies = self.mean_copies.max(other.mean_copies);
    }
}

/// Both controllers in turn.
fn makings(profile: Profile, line: LinkConfig, seed: u64) -> Makings {
    let mut makings = Makings::new(profile, line);
    let mode = if seed.is_multiple_of(2) { CongestionMode::Aggressive } else { CongestionMode::Conservative };
    makings.server.congestion = mode;
    makings.client.congestion = mode;
    makings
}

/// Small messages on all channels, at the pace of a game.
fn plan(messages: usize) -> Plan {
    Plan {
        lengths: [(); 4].map(|()| vec![MESSAGE_LEN; messages]),
        burst: 1,
        pause: 16 * MS,
        within: 300 * SECOND,
        afterwards: 2 * SECOND,
        mark: None,
    }
}

/// Nothing passes for 2 s of every 7.
fn black_holes(profile: Profile, seed: u64, verbose: bool) -> Result<Findings, String> {
    let line = LinkConfig::new().latency((10 + seed % 90) as u32 * MS).blackout_every(2 * SECOND, 7 * SECOND);
    let mut duo = Duo::connect(seed, &makings(profile, line, seed), verbose)?;
    Traffic::run(&plan(2500), &mut duo)?;
    let mut tally = Tally::default();
    tally.close(profile, &mut duo.world)?;
    Ok(Findings { tally, ..Findings::default() })
}

/// Nothing passes for 8 s, once; then both ways traffic is back in time.
fn one_outage(profile: Profile, seed: u64, verbose: bool) -> Result<Findings, String> {
    let from = 3 * SECOND + (seed * 37 % 1000) as u32 * MS;
    let until = from + 8 * SECOND;
    let line = LinkConfig::new().latency((5 + seed % 45) as u32 * MS).blackout(from..until);
    let mut duo = Duo::connect(seed, &makings(profile, line, seed), verbose)?;
    // Reliable messages alone: unreliable ones never stop leaving.
    let mut plan = plan(900);
    plan.lengths[2..].iter_mut().for_each(Vec::clear);
    plan.mark = Some(until);
    let traffic = Traffic::run(&plan, &mut duo)?;
    let back = traffic.back().ok_or("nothing came through after the outage")?;
    if back > BACK_WITHIN {
        return Err(format!("traffic was back only {back:?} after the outage"));
    }
    let mut tally = Tally::default();
    tally.close(profile, &mut duo.world)?;
    Ok(Findings { tally, longest: back.as_secs_f64(), ..Findings::default() })
}

/// The round trip grows from 20 ms to 1.5 s at once, on a line that loses nothing: every second copy is in vain.
fn step(profile: Profile, seed: u64, verbose: bool) -> Result<Findings, String> {
    let line = |round_trip: Duration| LinkConfig::new().latency(round_trip / 2);
    let makings = makings(profile, line(20 * MS), seed);
    let mut duo = Duo::connect(seed, &makings, verbose)?;
    let copies = Arc::new(Mutex::new(Copies::default()));
    watch_copies(profile, &mut duo.world, duo.server, &copies);
    let step_at = duo.world.elapsed() + 3 * SECOND + (seed * 13 % 100) as u32 * MS;
    let mut slow = Some(line(1500 * MS));
    Traffic::run_with(&plan(600), &mut duo, |duo| {
        if duo.world.elapsed() >= step_at
            && let Some(slow) = slow.take()
        {
            let (client, server) = (duo.world.address(duo.client), duo.world.address(duo.server));
            duo.world.network().set_line(client, server, slow).map_err(|error| error.to_string())?;
            copies.lock().unwrap_or_else(PoisonError::into_inner).step_at = duo.world.elapsed();
        }
        Ok(())
    })?;
    let copies = copies.lock().unwrap_or_else(PoisonError::into_inner);
    let (most, mean) = copies.after_step();
    if most > MAX_COPIES || mean > MAX_MEAN {
        return Err(format!("{most} spurious copies of a packet, {mean:.2} on average"));
    }
    let mut tally = Tally::default();
    tally.close(profile, &mut duo.world)?;
    Ok(Findings { tally, steps: 1, most_copies: most, mean_copies: mean, ..Findings::default() })
}

/// How often each packet was sent; in the extended profile, where no packet is sent twice, each message.
#[derive(Debug, Default)]
struct Copies {
    step_at: Duration,
    /// By direction, channel and number: when first sent, and how often again.
    packets: HashMap<(bool, u8, u32), (Duration, u32)>,
}

impl Copies {
    /// The most spurious copies of any packet, and the mean over the first hundred packets after the step, of the worse
    /// direction.
    fn after_step(&self) -> (u32, f64) {
        let most = self.packets.values().map(|(_, copies)| *copies).max().unwrap_or_default();
        let mean = |way: bool| {
            let after = self.packets.iter().filter(|((up, ..), (at, _))| *up == way && *at >= self.step_at);
            let mut after: Vec<_> = after.map(|(_, packet)| *packet).collect();
            after.sort_unstable();
            after.truncate(AFTER_STEP);
            after.iter().map(|(_, copies)| f64::from(*copies)).sum::<f64>() / after.len().max(1) as f64
        };
        (most, mean(true).max(mean(false)))
    }
}

fn watch_copies(profile: Profile, world: &mut World, server: NodeId, copies: &Arc<Mutex<Copies>>) {
    let copies = Arc::clone(copies);
    world.watch_plaintexts(move |sealing: &Sealing<'_>| {
        let mut copies = copies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = |channel: u8, number: u32| {
            let key = (sealing.node != server, channel, number);
            copies.packets.entry(key).and_modify(|(_, copies)| *copies += 1).or_insert((sealing.at, 0));
        };
        if profile == Profile::Extended {
            let frames = Frames::new(sealing.plaintext).into_iter().flatten();
            for frame in frames.map_while(Result::ok) {
                if let Frame::Data(data) = frame
                    && data.channel <= 1
                {
                    count(data.channel, data.message);
                }
            }
        } else if let Ok((header, _)) = PacketHeader::decode(sealing.plaintext)
            && !header.is_control()
            && header.channel <= 1
        {
            count(header.channel, header.sequence);
        }
    });
}
