//! The rules of the house that a program can check, as CONTRIBUTING.md states them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::workspace::{Member, Workspace};

/// Lines of code (no comments, no blank lines, no unit tests) above which a file must be split.
const MOST_CODE: usize = 600;

/// Lines of code above which a file is mentioned.
const MUCH_CODE: usize = 400;

/// The files that may contain `unsafe`, each with a reason in its first lines.
const UNSAFE_FILES: &[&str] = &[
    "fastwire-crypto/src/backend/ring.rs",
    "fastwire-crypto/src/prefetch.rs",
    "fastwire-testkit/src/counting.rs",
];

/// Where bytes of peers are handled: these files keep the whole crate or module below them from panicking, tests apart.
const PACKET_PATHS: &[&str] = &[
    "fastwire-compress/src/lib.rs",
    "fastwire-crypto/src/lib.rs",
    "fastwire-fec/src/lib.rs",
    "fastwire-kcp/src/core/mod.rs",
    "fastwire-kcp/src/fec/mod.rs",
    "fastwire-kcp/src/session/mod.rs",
    "fastwire-reliability/src/lib.rs",
    "fastwire-wire/src/lib.rs",
    "fastwire/src/proto/mod.rs",
    "fastwire/src/transport/mod.rs",
];

/// What they deny of clippy's lints.
const NO_PANICS: &[&str] = &[
    "expect_used",
    "indexing_slicing",
    "panic",
    "string_slice",
    "todo",
    "unimplemented",
    "unreachable",
    "unwrap_used",
];

/// Crates that compute with lengths and numbers as they came: there no sum may overflow either. Elsewhere overflow is checked in
/// every test, simulation and fuzz run.
const CHECKED_SUMS: &[&str] = &["fastwire-compress", "fastwire-crypto", "fastwire-wire"];

/// Whatever lies beside a checkout is not part of the project. (Written so that this line does not find itself.)
const OUTSIDE: &str = concat!("../", "shared");

/// What breaks a rule, a line each. Files that are merely long are printed.
pub(super) fn faults(workspace: &Workspace) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    collect(&workspace.root, &mut files)?;
    files.sort();
    let mut faults = Vec::new();
    for path in &files {
        // Not UTF-8: data, not text.
        let Ok(text) = fs::read_to_string(path) else { continue };
        let name = path.strip_prefix(&workspace.root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        if text.contains(OUTSIDE) {
            faults.push(format!("{name}: mentions {OUTSIDE}, which a clone does not have"));
        }
        if name.ends_with(".rs") {
            faults.extend(source_faults(&name, &text));
        }
        if name.ends_with(".md") {
            faults.extend(dead_links(path, &name, &text));
        }
    }
    for name in PACKET_PATHS {
        let text = fs::read_to_string(workspace.root.join(name)).unwrap_or_default();
        faults.extend(undenied(name, &text));
    }
    faults.extend(workspace.members.iter().flat_map(member_faults));
    faults.extend(workspace_faults(workspace));
    Ok(faults)
}

fn source_faults(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let first = text.lines().find(|line| !line.starts_with("#![") || line.contains("README.md"));
    if !first.is_some_and(|line| line.starts_with("//! ") || line.contains("README.md")) {
        faults.push(format!("{name}: its first line must say what the file is for (`//! …`)"));
    }
    let code = lines_of_code(text);
    if code > MOST_CODE {
        faults.push(format!("{name}: {code} lines of code; more than one idea? (limit {MOST_CODE})"));
    } else if code > MUCH_CODE {
        println!("  note: {name} has {code} lines of code");
    }
    let allows = text.lines().any(|line| {
        let line = line.trim_start();
        line.starts_with("#") && line.contains("unsafe_code") && line.contains("allow")
    });
    if allows && !UNSAFE_FILES.contains(&name) {
        faults.push(format!("{name}: allows unsafe code; only the files named in xtask/src/ci/house.rs may"));
    }
    faults
}

/// Lints that a file of [`PACKET_PATHS`] must deny and does not.
fn undenied(name: &str, text: &str) -> Vec<String> {
    let sums = CHECKED_SUMS.iter().any(|member| name.starts_with(&format!("{member}/")));
    let lints = NO_PANICS.iter().chain(sums.then_some(&"arithmetic_side_effects"));
    let denied = text.split("#![cfg_attr(").find(|part| part.contains("deny("));
    let denied = denied.and_then(|part| part.split(")]").next()).unwrap_or_default();
    let missing = lints.filter(|lint| !denied.contains(&format!("clippy::{lint}")));
    missing
        .map(|lint| {
            format!("{name}: must deny clippy::{lint} outside its tests (#![cfg_attr(not(test), deny(…))])")
        })
        .collect()
}

/// Lines before the unit tests that are neither blank nor only a comment.
fn lines_of_code(text: &str) -> usize {
    let mut lines = text.lines().map(str::trim).peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.starts_with("mod ")) {
            break;
        }
        if !line.is_empty() && !line.starts_with("//") {
            count += 1;
        }
    }
    count
}

/// Links of a Markdown file to files that are not there.
fn dead_links(path: &Path, name: &str, text: &str) -> Vec<String> {
    let directory = path.parent().unwrap_or(path);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    targets
        .filter(|target| !target.contains("://") && !target.starts_with(['#', '<']) && !target.contains("::"))
        .map(|target| target.split(['#', ' ']).next().unwrap_or_default())
        .filter(|target| target.contains(['.', '/']) && !directory.join(target).exists())
        .map(|target| format!("{name}: links to {target}, which is not there"))
        .collect()
}

fn member_faults(member: &Member) -> Vec<String> {
    let mut faults = Vec::new();
    let name = &member.name;
    let manifest = fs::read_to_string(member.directory.join("Cargo.toml")).unwrap_or_default();
    if !manifest.contains("[lints]\nworkspace = true") {
        faults
            .push(format!("{name}: its manifest must take the workspace's lints ([lints] workspace = true)"));
    }
    if member.published {
        let library = fs::read_to_string(member.directory.join("src/lib.rs")).unwrap_or_default();
        if !member.directory.join("README.md").is_file() {
            faults.push(format!("{name}: has no README.md"));
        } else if !library.contains("README.md") {
            faults.push(format!("{name}: src/lib.rs does not compile README.md's examples (include_str!)"));
        }
        let has_unsafe = UNSAFE_FILES.iter().any(|file| file.starts_with(&format!("{name}/src/")));
        if !has_unsafe && !library.contains("#![forbid(unsafe_code)]") {
            faults.push(format!("{name}: src/lib.rs must forbid unsafe code, since no file of it needs any"));
        }
        if name == "fastwire-wire" && !library.contains("#![no_std]") && !library.contains("no_std)]") {
            faults.push(format!("{name}: must be #![no_std]"));
        }
    }
    // A test that counts allocations has an allocator, and with it a process, of its own.
    let harness = member.targets("test").filter(|target| target.tested && target.name != "alloc").count();
    if harness > 1 {
        faults.push(format!(
            "{name}: has {harness} integration binaries; modules of tests/it/main.rs link once"
        ));
    }
    faults
}

fn workspace_faults(workspace: &Workspace) -> Vec<String> {
    let manifest = fs::read_to_string(workspace.root.join("Cargo.toml")).unwrap_or_default();
    let denied = manifest.contains("unsafe_code = \"deny\"") || manifest.contains("unsafe_code = \"forbid\"");
    let mut faults = Vec::new();
    if !denied {
        faults.push("Cargo.toml: workspace.lints must deny unsafe_code".into());
    }
    faults
}

/// Every file of the checkout that is not built, downloaded or git's.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    const OURS_THOUGH_HIDDEN: [&str; 3] = [".cargo", ".ci", ".config"];
    const NOT_OURS: [&str; 4] = ["target", "corpus", "artifacts", "node_modules"];
    let entries = fs::read_dir(directory).map_err(|e| format!("cannot list {}: {e}", directory.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let hidden = name.starts_with('.') && !OURS_THOUGH_HIDDEN.contains(&name.as_str());
        if hidden || NOT_OURS.contains(&name.as_str()) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_counted_without_comments_blanks_and_tests() {
        let text =
            "//! For this.\n\nuse x;\n  // why\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n fn g() {}\n}\n";
        assert_eq!(lines_of_code(text), 2);
        assert_eq!(lines_of_code("#[cfg(test)]\nuse x;\nfn f() {}"), 3, "only the test module ends the code");
    }

    #[test]
    fn a_file_must_say_what_it_is_for_and_stay_safe_and_short() {
        assert!(source_faults("a.rs", "//! Codes things.\nfn f() {}").is_empty());
        assert!(source_faults("a.rs", "#![no_std]\n//! Codes things.").is_empty());
        let readme = "#![no_std]\n#![doc = include_str!(\"../README.md\")]\n";
        assert!(source_faults("a.rs", readme).is_empty());
        assert_eq!(source_faults("a.rs", "fn f() {}").len(), 1);
        assert_eq!(source_faults("a.rs", "//! Codes.\n#[allow(unsafe_code)]\nfn f() {}").len(), 1);
        let long = format!("//! Codes.\n{}", "fn f() {}\n".repeat(MOST_CODE + 1));
        assert_eq!(source_faults("a.rs", &long).len(), 1);
    }

    #[test]
    fn a_packet_path_must_deny_what_panics_and_a_parser_what_overflows() {
        let deny = |lints: &[&str]| {
            let lints: Vec<_> = lints.iter().map(|lint| format!("clippy::{lint}")).collect();
            format!("//! Codes.\n#![cfg_attr(\n    not(test),\n    deny({})\n)]\nmod a;\n", lints.join(", "))
        };
        assert!(undenied("a/src/lib.rs", &deny(NO_PANICS)).is_empty());
        let parser = format!("{}/src/lib.rs", CHECKED_SUMS[0]);
        assert_eq!(undenied(&parser, &deny(NO_PANICS)).len(), 1);
        assert_eq!(undenied("a/src/lib.rs", &deny(&NO_PANICS[1..])).len(), 1);
        assert_eq!(undenied("a/src/lib.rs", "//! Codes.").len(), NO_PANICS.len());
    }

    #[test]
    fn a_dead_link_is_found_and_a_web_or_rustdoc_link_is_left_alone() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let text =
            "[a](Cargo.toml) [b](src/main.rs#x) [c](https://a.b/c.d) [d](#e) [e](crate::f.g) [f](gone.md)";
        assert_eq!(dead_links(&here, "README.md", text), ["README.md: links to gone.md, which is not there"]);
    }
}
