//! U4: a congestion controller of a user's own, outside the workspace.

use std::fs;

use super::alone::rust_examples;
use crate::{
    check::{Check, Outcome, Profile, Run},
    outside::{Project, root},
};

/// "In under 60 lines": the whole program, `main` and imports included.
const LINES: usize = 60;

/// U4.
pub(super) struct OwnController;

impl Check for OwnController {
    fn id(&self) -> &'static str {
        "U4"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, _: &Run) -> Outcome {
        match passes_the_suite() {
            Ok((lines, report)) => {
                let figure = format!("a controller of {lines} lines passes the conformance suite");
                Outcome::new(lines < LINES, figure).note(report)
            }
            Err(reason) => Outcome::fell_short("no controller passes").note(reason),
        }
    }
}

/// Takes the controller README shows, builds it elsewhere and runs it; its length and what it printed.
fn passes_the_suite() -> Result<(usize, String), String> {
    let path = root().join("fastwire-congestion/README.md");
    let readme = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let program = rust_examples(&readme)
        .into_iter()
        .find(|program| {
            program.contains("impl CongestionController for") && program.contains("conformance::check")
        })
        .ok_or("fastwire-congestion/README.md shows no controller that runs the conformance suite")?;
    let project = Project::new("own-controller", &["fastwire-congestion"])
        .map_err(|e| format!("cannot set up: {e}"))?;
    project.program("own_controller", &program).map_err(|e| format!("cannot set up: {e}"))?;
    let report = project.cargo("run --quiet --bin own_controller")?;
    Ok((
        program.lines().filter(|line| !line.trim().is_empty()).count(),
        report.trim().replace('\n', "\n    "),
    ))
}
