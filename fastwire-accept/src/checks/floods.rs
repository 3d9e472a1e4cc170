//! S1, S2: floods beside a hundred live clients.

use std::time::Duration;

use crate::check::{Check, Outcome, Profile, Run};
use crate::flood::{self, Plan, Report, Stage};

const BOTH: &[Profile] = &[Profile::Base, Profile::Extended];
/// How much worse the clients' p99 may get: under the slow floods, and at the rate of a socket that only receives.
const SLOWER: Duration = Duration::from_millis(5);
const MUCH_SLOWER: Duration = Duration::from_millis(20);
/// How much more memory a flood may take.
const MEMORY: u64 = 16 << 20;
/// Handshakes a second that one address may cost.
const AGREED: f64 = 100.0;

/// S1.
pub(super) struct ConnectFlood;

/// S2.
pub(super) struct ResponseFlood;

impl Check for ConnectFlood {
    fn id(&self) -> &'static str {
        "S1"
    }

    fn profiles(&self) -> &'static [Profile] {
        BOTH
    }

    fn run(&self, run: &Run) -> Outcome {
        let report = match flood::run(run.profile, if run.quick { Plan::QUICK } else { Plan::FULL }) {
            Ok(report) => report,
            Err(reason) => return Outcome::fell_short(reason),
        };
        let [peace, slow, junk, floor, twice, after] = &report.stages[..] else {
            return Outcome::fell_short("a stage is missing");
        };
        let mut faults = Vec::new();
        for stage in [slow, junk] {
            faults.extend(unharmed(stage, peace, SLOWER, 1.0));
        }
        faults.extend(unharmed(floor, peace, MUCH_SLOWER, 0.99));
        if run.profile == Profile::Extended && floor.welcome() < 0.95 {
            faults.push(format!("only {:.0}% of newcomers came in", 100.0 * floor.welcome()));
        }
        if twice.grown > MEMORY || twice.disconnected > 0 {
            let mib = twice.grown >> 20;
            faults.push(format!("twice that: {mib} MiB more, {} clients lost", twice.disconnected));
        }
        if after.in_time < 0.99 {
            faults.push(format!("a second after it: {:.1}% in time", 100.0 * after.in_time));
        }
        let figure = match faults.is_empty() {
            true => figure(&report, floor, twice),
            false => faults.join("; "),
        };
        let outcome = Outcome::new(faults.is_empty(), figure).fault("sent", sent(&report));
        report.to_string().lines().fold(outcome, |outcome, line| outcome.note(line.trim_end()))
    }
}

/// What a stage did to the clients that it must not.
fn unharmed(stage: &Stage, peace: &Stage, slower: Duration, in_time: f64) -> Vec<String> {
    let name = stage.name;
    let mut faults = Vec::new();
    // At the slow rates nothing reliable may be missing; what is late is seen in the p99.
    if in_time >= 1.0 && stage.missing > 0 || stage.in_time < in_time.min(0.999) {
        faults.push(format!("{name}: {:.2}% in time, {} missing", 100.0 * stage.in_time, stage.missing));
    }
    if stage.p99 > peace.p99 + slower {
        faults.push(format!("{name}: p99 {:.1?}, in peace {:.1?}", stage.p99, peace.p99));
    }
    if stage.disconnected > 0 {
        faults.push(format!("{name}: {} clients lost", stage.disconnected));
    }
    if stage.grown > MEMORY {
        faults.push(format!("{name}: {} MiB more memory", stage.grown >> 20));
    }
    // Two X25519 a handshake, and an attempt that a newcomer gave up costs as much.
    let newcomers = (stage.joined + stage.kept_out + stage.undecided) as u64;
    let honest = 2 * (stage.established + newcomers);
    if stage.agreements > honest {
        faults.push(format!("{name}: {} key agreements, honest clients need {honest}", stage.agreements));
    }
    faults
}

fn figure(report: &Report, floor: &Stage, twice: &Stage) -> String {
    format!(
        "at {:.0}/s {:.2}% of the echoes in time, p99 {:.1} ms, {:.1} MiB more, {} of {} newcomers in; at {:.0}/s alive",
        floor.offered,
        100.0 * floor.in_time,
        1e3 * floor.p99.as_secs_f64(),
        floor.grown as f64 / f64::from(1 << 20),
        floor.joined,
        floor.joined + floor.kept_out,
        twice.offered.max(report.rate),
    )
}

fn sent(report: &Report) -> u64 {
    report.stages.iter().map(|stage| stage.offered as u64).sum()
}

impl Check for ResponseFlood {
    fn id(&self) -> &'static str {
        "S2"
    }

    fn profiles(&self) -> &'static [Profile] {
        BOTH
    }

    fn run(&self, run: &Run) -> Outcome {
        let plan = if run.quick { Plan::QUICK } else { Plan::FULL };
        let answers = match flood::flood_of_responses(run.profile, plan) {
            Ok(answers) => answers,
            Err(reason) => return Outcome::fell_short(reason),
        };
        // A tenth for the ends of the interval.
        let ok = answers.agreed <= AGREED * 1.1
            && answers.missing == 0
            && answers.in_time >= 0.999
            && answers.p99.1 <= answers.p99.0 + SLOWER
            && answers.joined == answers.asked;
        Outcome::new(ok, answers.to_string()).fault("refused", answers.refused)
    }
}
