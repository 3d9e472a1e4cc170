//! U3: each leaf crate as the only dependency of a user's new project.

use std::fs;

use crate::{
    check::{Check, Outcome, Profile, Run},
    outside::{Project, root},
};

/// What each crate may bring along directly; whatever else turns up in its tree needs a reason and a line here.
const LEAVES: [(&str, &[&str]); 5] = [
    ("fastwire-wire", &["thiserror"]),
    (
        "fastwire-crypto",
        &["aead", "aes-gcm", "chacha20poly1305", "hkdf", "sha2", "thiserror", "x25519-dalek", "zeroize"],
    ),
    ("fastwire-compress", &["lz4_flex", "sha2", "thiserror", "zstd-safe"]),
    ("fastwire-reliability", &["bytes", "fastwire-wire", "smallvec", "thiserror"]),
    ("fastwire-congestion", &[]),
];

/// What none of them may bring along at any depth: runtimes, sockets, serialisation and what only tests need.
const UNWANTED: [&str; 14] = [
    "tokio",
    "mio",
    "polling",
    "socket2",
    "quinn-udp",
    "tracing",
    "serde",
    "serde_json",
    "rand",
    "proptest",
    "criterion",
    "fastwire",
    "fastwire-testkit",
    "static_assertions",
];

/// U3.
pub(super) struct LeavesAlone;

impl Check for LeavesAlone {
    fn id(&self) -> &'static str {
        "U3"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Either]
    }

    fn run(&self, _: &Run) -> Outcome {
        let (mut good, mut examples) = (0, 0);
        let mut notes = Vec::new();
        for (name, may_bring) in LEAVES {
            match stands_alone(name, may_bring) {
                Ok((ran, packages)) => {
                    good += 1;
                    examples += ran;
                    notes.push(format!("{name}: {ran} README examples, {packages} packages in its tree"));
                }
                Err(reason) => notes.push(format!("{name}: {reason}")),
            }
        }
        let figure = format!("{good} of {} crates stand alone, {examples} README examples run", LEAVES.len());
        notes.into_iter().fold(Outcome::new(good == LEAVES.len(), figure), Outcome::note)
    }
}

/// Builds and runs the crate's README examples with it as the only dependency and looks at its tree; how many examples
/// ran, and of how many packages the tree consists.
fn stands_alone(name: &str, may_bring: &[&str]) -> Result<(usize, usize), String> {
    let readme =
        fs::read_to_string(root().join(name).join("README.md")).map_err(|e| format!("README.md: {e}"))?;
    let examples = rust_examples(&readme);
    if examples.is_empty() {
        return Err("README.md has no Rust example".into());
    }
    let project =
        Project::new(&format!("only-{name}"), &[name]).map_err(|e| format!("cannot set up: {e}"))?;
    for (index, example) in examples.iter().enumerate() {
        project.program(&format!("readme_{index}"), example).map_err(|e| format!("cannot set up: {e}"))?;
    }
    for index in 0..examples.len() {
        project.cargo(&format!("run --quiet --bin readme_{index}"))?;
    }
    let tree = project.cargo(&format!("tree -p {name} --edges normal,no-proc-macro --prefix none"))?;
    let packages = packages(&tree);
    let direct = project.cargo(&format!("tree -p {name} --edges normal --depth 1 --prefix none"))?;
    for package in self::packages(&direct).iter().filter(|package| **package != name) {
        if !may_bring.contains(package) {
            return Err(format!("depends on {package}, which it should not need"));
        }
    }
    match packages.iter().find(|package| UNWANTED.contains(package)) {
        Some(package) => Err(format!("brings {package} along, which it should not need")),
        None => Ok((examples.len(), packages.len())),
    }
}

/// The names in what `cargo tree --prefix none` prints, each once.
fn packages(tree: &str) -> Vec<&str> {
    let mut names: Vec<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The Rust examples of a Markdown text, as programs: what rustdoc would run.
pub(super) fn rust_examples(markdown: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else { continue };
        let body: Vec<_> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
        if matches!(language.trim(), "" | "rust") {
            examples.push(program(&body));
        }
    }
    examples
}

/// Lines rustdoc hides begin with `# `; a body without `main` gets one.
fn program(body: &[&str]) -> String {
    let shown = body.iter().map(|line| match line.trim_start() {
        "#" => "",
        trimmed => trimmed.strip_prefix("# ").unwrap_or(line),
    });
    let code = shown.collect::<Vec<_>>().join("\n");
    if code.contains("fn main(") {
        code
    } else if code.trim_end().ends_with("(())") {
        // Its last line names the error type: `Ok::<(), Error>(())`.
        format!("fn main() {{\n let _ = (|| {{\n{code}\n}})().unwrap();\n}}\n")
    } else {
        format!("fn main() {{\n{code}\n}}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_become_programs_as_rustdoc_makes_them() {
        let text = "# Title\n```rust\n# use x;\nf();\n```\n```sh\nls\n```\n```\nfn main() {}\n```\n\
                    ```rust,ignore\nnot this\n```\n```rust\ng()?;\n# Ok::<(), E>(())\n```\n";
        let examples = rust_examples(text);
        assert_eq!(examples.len(), 3);
        assert_eq!(examples[0], "fn main() {\nuse x;\nf();\n}\n");
        assert_eq!(examples[1], "fn main() {}");
        assert!(examples[2].contains("Ok::<(), E>(())") && examples[2].contains("unwrap"));
    }

    #[test]
    fn a_tree_is_read_as_names() {
        let tree = "fastwire-wire v0.1.0 (/x)\nthiserror v2.0.1\nthiserror v2.0.1 (*)\n";
        assert_eq!(packages(tree), ["fastwire-wire", "thiserror"]);
    }
}
