//! S4: what a server's memory comes to, with ten thousand idle connections and with a hundred hostile ones.
//!
//! `idle` counts what a connection that does nothing costs; `arena` puts hostile peers beside honest clients; `base` and
//! `extended` are what the hostile ones do.

mod arena;
mod base;
mod extended;
mod idle;

use std::time::Duration;

use crate::check::{Check, Outcome, Profile, Run};
use arena::{Deed, Showing};

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;
/// What an idle connection may cost.
const IDLE: i64 = 8 * KIB;
/// What a hostile peer may take beyond the budgets it is given.
const BEYOND: i64 = 64 * KIB;
/// What a server may take beyond what all connections together may.
const SERVER: i64 = 16 * MIB;
/// How much worse the others' p99 may get, in virtual time.
const SLOWER: Duration = Duration::from_millis(5);
/// What all connections of the small server may hold.
const TIGHT: usize = 64 << 20;

/// S4.
pub(super) struct Memory;

impl Check for Memory {
    fn id(&self) -> &'static str {
        "S4"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Base, Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        match judge(run) {
            Ok(outcome) => outcome,
            Err(reason) => Outcome::fell_short(reason),
        }
    }
}

fn judge(run: &Run) -> Result<Outcome, String> {
    let (connections, peers) = if run.quick { (500, 10) } else { (10_000, 100) };
    let idle = idle::each(run.profile, connections)?;
    let mut faults = Vec::new();
    if idle > IDLE {
        faults.push(format!("an idle connection holds {idle} bytes"));
    }
    let mut notes = vec![format!("{connections} idle connections: {idle} bytes each")];
    let mut most = 0.0_f64;
    let mut happened = Vec::new();
    for small in [false, true] {
        // In the quick form the small budgets alone: they are full sooner.
        if run.quick && !small {
            continue;
        }
        let budgets = if small { "1 MiB" } else { "the defaults" };
        for deed in Deed::ALL {
            let shown = arena::run(run.profile, deed, peers, small, None)?;
            let allowed = arena::budget(run.profile, deed, small) + BEYOND;
            let each = shown.taken / peers as i64;
            most = most.max(each as f64 / allowed as f64);
            notes.push(format!(
                "{} with {budgets}: {} of {} KiB each; {}",
                deed.name(),
                each / KIB,
                allowed / KIB,
                waits(&shown)
            ));
            if each > allowed {
                faults.push(format!("{} with {budgets}: {each} bytes each, {allowed} allowed", deed.name()));
            }
            faults.extend(unharmed(deed.name(), &shown));
            if !small || run.quick {
                happened.push((deed.name(), shown.attacks));
            }
        }
    }
    let mut outcome_shed = 0;
    for deed in [Deed::Gaps, Deed::Deaf] {
        let memory = if run.quick { TIGHT / 16 } else { TIGHT };
        let shown = arena::run(run.profile, deed, peers, run.quick, Some(memory))?;
        let allowed = memory as i64 + SERVER;
        notes.push(format!(
            "{}, the server {} of {} MiB: {} connections shed; {}",
            deed.name(),
            shown.all / MIB,
            allowed / MIB,
            shown.shed,
            waits(&shown)
        ));
        if shown.all > allowed {
            faults.push(format!("{}: the server holds {} bytes, {allowed} allowed", deed.name(), shown.all));
        }
        faults.extend(unharmed(deed.name(), &shown));
        outcome_shed += shown.shed;
    }
    let figure = match faults.is_empty() {
        true => format!(
            "{connections} idle connections of {idle} bytes each; {peers} hostile peers took at most {:.0}% of what each may; \
             nobody else waited longer or was lost",
            100.0 * most
        ),
        false => faults.join("; "),
    };
    let mut outcome = Outcome::new(faults.is_empty(), figure).fault("connections shed", outcome_shed);
    for (name, count) in happened {
        outcome = outcome.fault(name, count);
    }
    Ok(notes.into_iter().fold(outcome, Outcome::note))
}

fn waits(shown: &Showing) -> String {
    format!("others' p99 {:.0?} before, {:.0?} beside", shown.before, shown.beside)
}

/// What an attack did to the honest that it must not.
fn unharmed(name: &str, shown: &Showing) -> Vec<String> {
    let mut faults = Vec::new();
    if shown.beside > shown.before + SLOWER {
        faults.push(format!("{name}: {}", waits(shown)));
    }
    if shown.lost > 0 {
        faults.push(format!("{name}: {} honest clients lost", shown.lost));
    }
    faults
}
