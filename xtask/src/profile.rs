//! `cargo xtask profile`: where the time of a workload or the instructions of a layer go.

use std::process::ExitCode;

use crate::{Done, bench, helped, shell::Shell, workspace::root};

const HELP: &str = "\
cargo xtask profile WORKLOAD [SYSTEM]

  WORKLOAD  P1 to P7: client and server of SYSTEM (default fastwire-extended-aes128) under perf;
            or a word of a layer's name, as `cargo xtask bench --counts` lists them: that layer under perf
            where perf works, else under valgrind

Needs perf (packages linux-perf or linux-tools), or valgrind for layers. What is recorded stays in target/profile.";

/// Lines of the report that are shown.
const SHOWN: usize = 60;

pub(crate) fn run(arguments: &[String]) -> Done {
    if helped(arguments, HELP) {
        return Ok(ExitCode::SUCCESS);
    }
    let (workload, system) = match arguments {
        [workload] => (workload, "fastwire-extended-aes128"),
        [workload, system] => (workload, system.as_str()),
        _ => return Err("name one workload or layer; see cargo xtask profile --help".into()),
    };
    let directory = root().join("target/profile");
    std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let samples = Shell::new("perf").words("record -o /dev/null -e cpu-clock true").succeeds();
    let whole = workload.len() == 2 && workload.to_uppercase().starts_with('P');
    if whole {
        if !samples {
            return Err(
                "perf is missing or not allowed here; a layer can be profiled with valgrind alone".into()
            );
        }
        let program = bench::built("fastwire-bench")?;
        // The clock, not a hardware counter: virtual machines seldom have those. Children are followed.
        record(&file("perf.data"), &[&program, "--quick", "--workload", workload, "--system", system])?;
        return report(&file("perf.data"));
    }
    let program = bench::built("layers")?;
    let layers = Shell::new(&program).words("list").output()?;
    let Some(layer) = layers.lines().find(|layer| layer.contains(workload.as_str())) else {
        return Err(format!("no workload or layer {workload:?}; there are P1 to P7 and\n{layers}"));
    };
    if samples {
        record(&file("perf.data"), &[&program, "run", layer, "100000"])?;
        return report(&file("perf.data"));
    }
    let out = format!("--callgrind-out-file={}", file("callgrind.out"));
    Shell::new("valgrind").arguments(["--tool=callgrind", &out, &program, "run", layer, "1000"]).run()?;
    Shell::new("callgrind_annotate").arguments(["--auto=no", &file("callgrind.out")]).replace()
}

fn record(file: &str, command: &[&str]) -> Result<(), String> {
    let perf = Shell::new("perf").words("record --quiet -e cpu-clock -F 1999 -g -o").arguments([file, "--"]);
    perf.arguments(command).run()
}

/// Who had the processor, program by program.
fn report(file: &str) -> Done {
    let shell = Shell::new("perf").words("report --stdio --no-children -g none --sort comm,symbol -i");
    let text = shell.arguments([file]).output()?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.take(SHOWN).for_each(|line| println!("{line}"));
    println!("the rest: perf report -i {file}");
    Ok(ExitCode::SUCCESS)
}
