//! `cargo xtask bench --counts`: the instructions of each layer, against a baseline in the repository.

use std::{collections::BTreeMap, fs, process::ExitCode};

use serde_json::{Value, json};

use crate::{Done, bench, shell::Shell, workspace::root};

/// How much more than the baseline is taken for slower, in percent. Two runs of one binary differ by less than 0.1 %:
/// only the addresses that hash maps and the allocator see change.
const THRESHOLD: f64 = 2.0;

/// Runs of a layer that are not counted, so that neither starting nor warming up is.
const WARM_UP: u64 = 200;

/// Runs that are.
const COUNTED: u64 = 200;

pub(crate) fn run(arguments: &[String]) -> Done {
    let bless = match arguments {
        [] => false,
        [option] if option == "--bless" => true,
        _ => return Err(format!("cannot make sense of {arguments:?}; see cargo xtask bench --help")),
    };
    if !Shell::new("valgrind").words("--version").succeeds() {
        return Err("valgrind is missing; your system's package of that name brings it".into());
    }
    let program = bench::built("layers")?;
    let file = root().join("fastwire-bench/counts.json");
    let baseline = Baseline::read(&fs::read_to_string(&file).unwrap_or_default());
    let compiler = Shell::new("rustc").words("--version").output()?.trim().to_owned();
    let mut counts = BTreeMap::new();
    let mut slower = 0;
    for layer in Shell::new(&program).words("list").output()?.lines() {
        let long = instructions(&program, layer, WARM_UP + COUNTED)?;
        let count = long.saturating_sub(instructions(&program, layer, WARM_UP)?) / COUNTED;
        let (verdict, is_slower) = baseline.judge(layer, count);
        slower += usize::from(is_slower);
        println!("{count:>9}  {layer}{verdict}");
        counts.insert(layer.to_owned(), count);
    }
    if bless {
        let text = format!("{:#}\n", json!({ "rustc": compiler, "instructions": counts }));
        fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
        println!("written: fastwire-bench/counts.json");
        return Ok(ExitCode::SUCCESS);
    }
    if baseline.compiler != compiler {
        println!(
            "the baseline was made by {:?}, this is {compiler}: differences are shown, not judged",
            baseline.compiler
        );
        return Ok(ExitCode::SUCCESS);
    }
    if slower > 0 {
        println!(
            "{slower} slower by more than {THRESHOLD} %; if that is meant: cargo xtask bench --counts --bless"
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The instructions of a whole run of a program.
fn instructions(program: &str, layer: &str, times: u64) -> Result<u64, String> {
    let (status, said) = Shell::new("valgrind")
        .words("--tool=callgrind --callgrind-out-file=/dev/null")
        .arguments([program, "run", layer, &times.to_string()])
        .both_outputs()?;
    let counted = said.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok());
    counted.filter(|_| status).ok_or_else(|| format!("valgrind counted nothing of {layer:?}:\n{said}"))
}

/// What was counted before, and by which compiler.
#[derive(Debug, Default)]
struct Baseline {
    compiler: String,
    counts: BTreeMap<String, u64>,
}

impl Baseline {
    fn read(text: &str) -> Self {
        let file: Value = serde_json::from_str(text).unwrap_or_default();
        let counts = file["instructions"].as_object().into_iter().flatten();
        Self {
            compiler: file["rustc"].as_str().unwrap_or_default().to_owned(),
            counts: counts.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect(),
        }
    }

    /// What to say of a count, and whether it is above the threshold.
    fn judge(&self, layer: &str, count: u64) -> (String, bool) {
        let Some(&before) = self.counts.get(layer) else { return ("  (new)".into(), false) };
        let change = (count as f64 / before as f64 - 1.0) * 100.0;
        (format!("  {change:+.1} %"), count as f64 > before as f64 * (1.0 + THRESHOLD / 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_threshold_above_the_baseline_is_slower() {
        let baseline = Baseline::read(r#"{"rustc": "rustc 1.95.0", "instructions": {"codec": 1000}}"#);
        for (count, slower) in [(900, false), (1000, false), (1020, false), (1021, true)] {
            assert_eq!(baseline.judge("codec", count).1, slower, "{count}");
        }
        assert!(!baseline.judge("something new", 1).1);
    }
}
