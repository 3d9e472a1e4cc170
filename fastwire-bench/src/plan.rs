//! What is measured: the workloads of docs/acceptance.md table P, case by case, and how often.

/// How much time a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// A few seconds a workload: whether it works at all.
    Quick,
    /// About five minutes for everything.
    Short,
    /// The figures that are published.
    Full,
}

impl Scale {
    fn pick<T>(self, quick: T, short: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Short => short,
            Self::Full => full,
        }
    }
}

/// One row of measurements: a workload under one condition, for several systems.
#[derive(Clone, Debug)]
pub struct Case {
    pub workload: &'static str,
    pub case: String,
    pub systems: Vec<&'static str>,
    /// What servers are told beside the system's name.
    pub serve: String,
    /// What clients are told.
    pub drive: String,
    /// The line of the relay; empty: none.
    pub line: String,
    /// Rounds, each with every system in turn.
    pub rounds: usize,
    /// Rounds that run at the same time: only over slow lines, where the machine idles.
    pub at_once: usize,
}

/// FastWire's own systems: a profile and a cipher each. The cipher makes a difference where much is sealed; elsewhere those
/// of [`PROFILES`] speak for both.
pub const OURS: &[&str] = &[
    "fastwire-extended-aes128",
    "fastwire-extended-chacha20",
    "fastwire-base-aes128",
    "fastwire-base-chacha20",
];

/// The same with one cipher.
const PROFILES: &[&str] = &["fastwire-extended-aes128", "fastwire-base-aes128"];

/// The workloads, in order.
pub const WORKLOADS: &[&str] = &["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8"];

/// The cases of one workload. `raw_rate`: the highest rate at which raw sockets serve 5000 connections.
pub fn cases(workload: &str, scale: Scale, raw_rate: f64) -> Vec<Case> {
    let pick = |quick: usize, short: usize, full: usize| scale.pick(quick, short, full);
    match workload {
        "P1" => {
            let total = pick(2048, 16_384, 16_384);
            vec![Case {
                serve: format!("work=bulk role=sink size=16384 every=32 total={total} path=clean"),
                drive: format!("work=bulk size=16384 every=32 total={total} window=512 path=clean"),
                rounds: pick(1, 3, 9),
                ..case("P1", "16 KiB", &["quinn", "renet", "enet", "kcp", "tcp", "raw", "raw-batched"])
            }]
        }
        "P2" => [(64, 4096, 256), (1000, 2048, 128)]
            .map(|(size, window, every)| Case {
                serve: format!("work=flood role=sink size={size} every={every} down=ordered path=clean"),
                drive: format!(
                    "work=flood size={size} window={window} every={every} seconds={} path=clean",
                    scale.pick(0.5, 1.0, 1.5)
                ),
                rounds: pick(1, 3, 5),
                ..case("P2", &format!("{size}B"), &["quinn", "renet", "enet", "raw", "raw-batched"])
            })
            .into(),
        "P3" => {
            let count = pick(1000, 5000, 20_000);
            // Two that sleep in turn share one processor as readily as not, and a wake costs a tenth there of what it costs
            // across: whoever is woken has to be somewhere else, as between two machines.
            let ping = |wait: &str, peers: &[&'static str]| Case {
                serve: format!("work=ping role=echo reply=64 wait={wait} processor=0 path=clean"),
                drive: format!("work=ping size=64 count={count} wait={wait} processor=1 path=clean"),
                rounds: pick(1, 3, 9),
                ..case("P3", wait, peers)
            };
            let mut cases = vec![
                ping("wait", &["quinn", "renet", "enet", "kcp", "tcp", "raw"]),
                ping("spin", &["renet", "enet", "raw"]),
            ];
            cases.push(ping("async", &[]));
            cases
        }
        "P4" => {
            let crowd = |n: usize, rate: f64, peers: &[&'static str]| Case {
                serve: "work=crowd role=echo reply=200 up=unreliable down=unreliable path=clean".into(),
                drive: format!(
                    "work=crowd n={n} rate={rate} size=64 up=unreliable seconds={} path=clean",
                    scale.pick(1.0, 2.0, 2.0)
                ),
                rounds: pick(1, 2, 5),
                ..case("P4", &format!("N={n}"), peers)
            };
            let mut cases = vec![crowd(
                pick(100, 1000, 1000),
                30.0,
                &["quinn", "renet", "enet", "kcp", "raw", "raw-batched"],
            )];
            if scale != Scale::Quick {
                let large = crowd(5000, raw_rate * 2.0 / 3.0, &["quinn", "kcp", "raw-batched"]);
                // Connecting takes most of the time.
                cases.push(Case { rounds: pick(1, 1, 3), ..large });
            }
            cases
        }
        "P5" => losses(scale, &[1, 5, 10])
            .into_iter()
            .map(|loss| Case {
                serve: "work=stream role=log".into(),
                drive: format!("work=stream size=200 rate=60 seconds={}", scale.pick(3.0, 8.0, 10.0)),
                line: format!("--delay,25ms,--jitter,5ms,--loss,{loss}%"),
                rounds: pick(1, 4, 20),
                at_once: pick(1, 4, 20),
                ..case("P5", &format!("loss={loss}"), &["quinn", "renet", "enet", "kcp"])
            })
            .collect(),
        "P6" => losses(scale, &[0, 1, 5, 10])
            .into_iter()
            .map(|loss| {
                let total = pick(64, 512, 512);
                Case {
                    serve: format!("work=bulk role=sink size=16384 every=8 total={total}"),
                    drive: format!(
                        "work=bulk size=16384 every=8 total={total} window=512 limit={}",
                        pick(20, 30, 20)
                    ),
                    line: format!("--delay,25ms,--jitter,5ms,--loss,{loss}%,--rate,20mbit,--queue,64k"),
                    rounds: pick(1, 2, 5),
                    at_once: pick(1, 2, 5),
                    ..case("P6", &format!("loss={loss}"), &["quinn", "quinn-bbr", "renet", "enet", "kcp"])
                }
            })
            .collect(),
        "P7" => ["in turn", "at once"]
            .map(|name| Case {
                serve: "work=handshakes role=echo".into(),
                drive: format!("work=handshakes count={} case={name}", pick(50, 500, 500)),
                rounds: pick(1, 3, 5),
                ..case("P7", name, &["quinn", "renet", "enet"])
            })
            .into(),
        "P8" => vec![Case {
            serve: "work=crowd role=echo".into(),
            drive: format!("work=crowd n={} rate=0 size=64 seconds=2", pick(100, 1000, 1000)),
            rounds: pick(1, 1, 2),
            ..case("P8", "idle", &["quinn", "renet", "enet", "kcp"])
        }],
        _ => Vec::new(),
    }
}

/// The losses of the table in percent; one of them where time is short.
fn losses(scale: Scale, all: &[u32]) -> Vec<u32> {
    if scale == Scale::Full { all.to_vec() } else { vec![5] }
}

fn case(workload: &'static str, case: &str, peers: &[&'static str]) -> Case {
    let sealing = matches!(workload, "P1" | "P2");
    Case {
        workload,
        case: case.to_owned(),
        systems: if sealing { OURS } else { PROFILES }.iter().chain(peers).copied().collect(),
        serve: String::new(),
        drive: String::new(),
        line: String::new(),
        rounds: 1,
        at_once: 1,
    }
}

/// How the rate at which raw sockets serve 5000 connections is looked for: the highest of these that holds.
pub const RATES: &[f64] = &[30.0, 25.0, 20.0, 15.0, 10.0, 7.5, 5.0, 2.5];

/// The case that tries one of [`RATES`].
pub fn probe(rate: f64) -> Case {
    Case {
        systems: vec!["raw-batched"],
        drive: format!("work=crowd n=5000 rate={rate} size=64 up=unreliable seconds=2"),
        serve: "work=crowd role=echo reply=200 up=unreliable down=unreliable".into(),
        ..case("P4", "probe", &[])
    }
}
