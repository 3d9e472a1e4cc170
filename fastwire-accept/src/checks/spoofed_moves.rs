//! S6: whoever cannot seal packets of a client moves its connection nowhere.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, Rng};
use fastwire::transport::SocketId;
use fastwire::{ConnectionId, Event};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Cores, Parcel, client_address, configs, honest, run_seeds};

const SPOOFS: u64 = 1_000_000;
const QUICK_SPOOFS: u64 = 60_000;
/// Connections they are divided among.
const SEEDS: u64 = 10;
const QUICK_SEEDS: u64 = 4;
/// Between two of the honest client's messages.
const FRAME: Duration = Duration::from_millis(10);
const SPOOFS_A_FRAME: u64 = 100;
/// What the spoofer has overheard lately.
const MEMORY: usize = 4000;
/// What was sent has arrived so many frames later.
const ARRIVED_AFTER: usize = 3;
/// Withheld packets come this many frames later.
const STALE_AFTER: usize = 20;

/// S6.
pub(super) struct SpoofedMoves;

#[derive(Debug, Default)]
struct Total {
    replayed: u64,
    garbage: u64,
    right_id: u64,
    flipped: u64,
    stale: u64,
    raced: u64,
    delivered: u64,
}

impl std::ops::AddAssign for Total {
    fn add_assign(&mut self, other: Self) {
        self.replayed += other.replayed;
        self.garbage += other.garbage;
        self.right_id += other.right_id;
        self.flipped += other.flipped;
        self.stale += other.stale;
        self.raced += other.raced;
        self.delivered += other.delivered;
    }
}

impl Total {
    fn spoofs(&self) -> u64 {
        self.replayed + self.garbage + self.right_id + self.flipped + self.stale + self.raced
    }
}

impl Check for SpoofedMoves {
    fn id(&self) -> &'static str {
        "S6"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base, Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let (spoofs, seeds) = if run.quick { (QUICK_SPOOFS, QUICK_SEEDS) } else { (SPOOFS, SEEDS) };
        let seeds = run_seeds(run, 1..=seeds, |seed, verbose| {
            let total = one_connection(run.profile, seed, spoofs / seeds)?;
            if verbose {
                println!("    {total:?}");
            }
            Ok(total)
        });
        let figure = format!(
            "{}, {} spoofed packets moved nothing; {} honest messages delivered meanwhile",
            seeds.figure(),
            seeds.total.spoofs(),
            seeds.total.delivered,
        );
        let outcome = Outcome::new(seeds.failures.is_empty(), figure)
            .fault("replays", seeds.total.replayed)
            .fault("garbage", seeds.total.garbage)
            .fault("right connection id or token", seeds.total.right_id)
            .fault("a bit flipped", seeds.total.flipped)
            .fault("stale numbers", seeds.total.stale);
        // In the base profile whoever is first with a fresh packet is the client: nothing asks the old address.
        let outcome = match run.profile {
            Profile::Extended => outcome.fault("fresh packets, first from elsewhere", seeds.total.raced),
            _ => outcome,
        };
        seeds.explain(self.id(), outcome)
    }
}

/// What the spoofer knows and may do.
struct Spoofer {
    rng: Rng,
    profile: Profile,
    overheard: VecDeque<Vec<u8>>,
    /// Overheard and still under way, or only just there: in which frame.
    under_way: VecDeque<(usize, Vec<u8>)>,
    /// Withheld packets, and in which frame.
    withheld: VecDeque<(usize, Vec<u8>)>,
    /// Packets to be raced with.
    fresh: Vec<Vec<u8>>,
    frame: usize,
}

impl Spoofer {
    /// Somewhere else: another port of the client's address, or another address.
    fn place(&mut self) -> SocketAddr {
        let home = client_address(SocketId::PRIMARY);
        let port = 1024 + self.rng.below(40_000) as u16;
        if self.rng.chance(0.5) { SocketAddr::new(home.ip(), port) } else { self.far_place() }
    }

    fn far_place(&mut self) -> SocketAddr {
        let host = self.rng.next_u64() as u32 & 0x1_ffff;
        SocketAddr::from((std::net::Ipv4Addr::from(0xc612_0000 | host), 1024 + self.rng.below(60_000) as u16))
    }

    /// Listens to the client, and now and then takes a packet away or is faster with it.
    fn listen(&mut self, parcel: Parcel, out: &mut Vec<Parcel>) {
        if parcel.up {
            if self.rng.chance(0.05) {
                self.withheld.push_back((self.frame, parcel.bytes));
                return;
            }
            self.under_way.push_back((self.frame, parcel.bytes.clone()));
            if self.profile == Profile::Extended && self.rng.chance(0.02) {
                self.fresh.push(parcel.bytes.clone());
            }
        }
        out.push(parcel);
    }

    /// What has arrived may be replayed.
    fn remember(&mut self) {
        while self.under_way.front().is_some_and(|(frame, _)| self.frame >= *frame + ARRIVED_AFTER) {
            self.overheard.extend(self.under_way.pop_front().map(|(_, bytes)| bytes));
        }
        while self.overheard.len() > MEMORY {
            self.overheard.pop_front();
        }
    }

    fn spoof(&mut self, total: &mut Total) -> (SocketAddr, Vec<u8>) {
        let len = self.overheard.len() as u64;
        let recent = self.rng.chance(0.5);
        let index = if recent { len - 1 - self.rng.below(len.min(20)) } else { self.rng.below(len) };
        let mut bytes = self.overheard[index as usize].clone();
        let mut noise =
            |bytes: &mut [u8]| bytes.iter_mut().for_each(|byte| *byte = self.rng.next_u64() as u8);
        match self.frame as u64 * 7 + total.spoofs() {
            n if n % 4 == 0 => total.replayed += 1,
            n if n % 4 == 1 => {
                let keep = 8.min(bytes.len());
                noise(&mut bytes[keep..]);
                total.right_id += 1;
            }
            n if n % 4 == 2 => {
                let bit = self.rng.below(bytes.len() as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
                total.flipped += 1;
            }
            _ => {
                noise(&mut bytes);
                let keep = self.rng.below(bytes.len() as u64 + 1) as usize;
                bytes.truncate(keep);
                total.garbage += 1;
            }
        }
        (self.place(), bytes)
    }
}

fn one_connection(profile: Profile, seed: u64, spoofs: u64) -> Result<Total, String> {
    let (mut server, mut client) = configs(profile);
    server.connection_migration = true;
    client.connection_migration = true;
    let mut cores = Cores::new(seed, &server, &client)?;
    let at_client = cores.connect()?;
    let mut at_server = None;
    let settled = cores.now + Duration::from_millis(500);
    cores.run(settled, &mut honest, |_| false);
    for event in std::mem::take(&mut cores.at_server) {
        if let Event::Connected { connection } = event {
            at_server = Some(connection);
        }
    }
    let at_server: ConnectionId = at_server.ok_or("not connected")?;
    cores.at_client.clear();
    let mut ledgers: Vec<Vec<Ledger>> =
        [0, 1].map(|salt| DeliveryMode::ALL.iter().map(|mode| Ledger::new(*mode, salt)).collect()).into();
    let mut spoofer = Spoofer {
        rng: Rng::new(seed),
        profile,
        overheard: VecDeque::new(),
        under_way: VecDeque::new(),
        withheld: VecDeque::new(),
        fresh: Vec::new(),
        frame: 0,
    };
    let mut total = Total::default();
    let mut tail = 500;
    while total.spoofs() < spoofs || tail > 0 {
        let attacking = total.spoofs() < spoofs;
        spoofer.frame += 1;
        tail -= u32::from(!attacking);
        for (side, ledgers) in ledgers.iter_mut().enumerate() {
            let (core, id) =
                if side == 0 { (&mut cores.server, at_server) } else { (&mut cores.client, at_client) };
            for (channel, ledger) in (0u8..).zip(ledgers).filter(|_| attacking) {
                let len = spoofer.frame * 13 % 400;
                core.send(cores.now, id, ledger.message(len), channel).map_err(|error| error.to_string())?;
                ledger.on_sent(len);
            }
        }
        let until = cores.now + FRAME;
        let mut between = |parcel: Parcel, out: &mut Vec<Parcel>| {
            if attacking { spoofer.listen(parcel, out) } else { out.push(parcel) }
        };
        cores.run(until, &mut between, |_| false);
        for (side, events) in [&mut cores.at_server, &mut cores.at_client].into_iter().enumerate() {
            for event in std::mem::take(events) {
                let Event::Message { channel, data, .. } = event else { return Err(format!("{event:?}")) };
                let ledger = &mut ledgers[1 - side][usize::from(channel)];
                ledger.on_delivered(&data).map_err(|law| law.to_string())?;
                total.delivered += 1;
            }
        }
        spoofer.remember();
        if attacking && !spoofer.overheard.is_empty() {
            strike(&mut cores, &mut spoofer, &mut total);
        }
        let seen_at = cores.server.remote_addr(at_server);
        let moves = cores.server.connection_stats(at_server).map(|stats| stats.migrations);
        if seen_at != Some(client_address(SocketId::PRIMARY)) || moves != Some(0) {
            return Err(format!(
                "after {} spoofs the client is seen at {seen_at:?}, {moves:?} moves",
                total.spoofs()
            ));
        }
    }
    if !ledgers.iter().flatten().all(Ledger::is_complete) {
        return Err("a reliable message is missing".into());
    }
    Ok(total)
}

fn strike(cores: &mut Cores, spoofer: &mut Spoofer, total: &mut Total) {
    for bytes in std::mem::take(&mut spoofer.fresh) {
        // Overheard a moment ago, and still under way.
        let from = spoofer.far_place();
        cores.spoof(from, &bytes);
        total.raced += 1;
    }
    for _ in 0..SPOOFS_A_FRAME {
        let (from, bytes) = spoofer.spoof(total);
        cores.spoof(from, &bytes);
    }
    while spoofer.withheld.front().is_some_and(|(frame, _)| spoofer.frame >= *frame + STALE_AFTER) {
        let Some((_, bytes)) = spoofer.withheld.pop_front() else { break };
        let from = spoofer.place();
        cores.spoof(from, &bytes);
        total.stale += 1;
    }
}
