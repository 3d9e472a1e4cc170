//! What others wrote and we ship: licences, sources and duplicates, from `cargo metadata` alone, so that it needs no network.

use std::collections::BTreeMap;

use crate::workspace::{Foreign, Workspace};

/// Licences under which a dependency may be used.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Where dependencies come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates that are there twice, and who brings the other one.
const TWICE: &[(&str, &str)] = &[
    ("getrandom", "ring, until it takes 0.3 or newer"),
    ("rand", "tokio_kcp, a peer in tests"),
    ("rand_chacha", "tokio_kcp, a peer in tests"),
    ("rand_core", "tokio_kcp, a peer in tests"),
    ("syn", "procedural macros, at build time only"),
    ("thiserror", "tokio_kcp, a peer in tests"),
    ("thiserror-impl", "tokio_kcp, a peer in tests"),
    ("windows-sys", "ring, on Windows only"),
];

/// What is wrong with the dependencies, a line each.
pub(super) fn faults(workspace: &Workspace) -> Vec<String> {
    let mut faults = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &workspace.foreign {
        let Foreign { name, version, licence, source, .. } = package;
        versions.entry(name).or_default().push(version);
        match licence {
            None => faults.push(format!("{name} {version} states no licence")),
            Some(licence) if !is_allowed(licence) => {
                faults.push(format!(
                    "{name} {version} is under {licence}; xtask/src/ci/audit.rs lists what may be"
                ));
            }
            Some(_) => {}
        }
        if source.as_deref() != Some(REGISTRY) {
            faults.push(format!("{name} {version} comes from {source:?}, not from crates.io"));
        }
    }
    for (name, versions) in &versions {
        let known = TWICE.iter().any(|(twice, _)| twice == name);
        match (versions.len(), known) {
            (1, true) => {
                faults.push(format!("{name} is there once again; take it off the list of duplicates"))
            }
            (2.., false) => faults.push(format!("{name} is there as {}", versions.join(" and "))),
            _ => {}
        }
    }
    faults
}

/// Whether an SPDX expression can be met by allowed licences alone. Old manifests write `/` for OR.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let allowed = either(&mut rest);
    allowed && rest.is_empty()
}

fn either(words: &mut &[&str]) -> bool {
    let mut allowed = both(words);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        allowed |= both(words);
    }
    allowed
}

fn both(words: &mut &[&str]) -> bool {
    let mut allowed = one(words);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        allowed &= one(words);
    }
    allowed
}

fn one(words: &mut &[&str]) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let allowed = either(words);
            match *words {
                [")", rest @ ..] => *words = rest,
                _ => return false,
            }
            allowed
        }
        [name, "WITH", exception, rest @ ..] => {
            *words = rest;
            LICENCES.contains(&format!("{name} WITH {exception}").as_str())
        }
        [name, rest @ ..] => {
            *words = rest;
            LICENCES.contains(name)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, licence: Option<&str>, source: Option<&str>) -> Foreign {
        Foreign {
            name: name.into(),
            version: version.into(),
            rust_version: None,
            licence: licence.map(Into::into),
            source: source.map(Into::into),
        }
    }

    fn check(foreign: Vec<Foreign>) -> Vec<String> {
        faults(&Workspace {
            root: Default::default(),
            target: Default::default(),
            members: Vec::new(),
            foreign,
        })
    }

    #[test]
    fn licence_expressions_are_understood() {
        for yes in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
        ] {
            assert!(is_allowed(yes), "{yes}");
        }
        for no in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "(MIT", "", "OR MIT", "MIT MIT", "GPL-2.0 WITH x"]
        {
            assert!(!is_allowed(no), "{no}");
        }
    }

    #[test]
    fn what_is_foreign_by_licence_by_source_or_twice_is_found() {
        let good = || package("good", "1.0.0", Some("MIT"), Some(REGISTRY));
        assert!(check(vec![good()]).is_empty());
        assert_eq!(check(vec![good(), package("good", "2.0.0", Some("MIT"), Some(REGISTRY))]).len(), 1);
        assert_eq!(check(vec![package("bad", "1.0.0", Some("AGPL-3.0"), Some(REGISTRY))]).len(), 1);
        assert_eq!(check(vec![package("bad", "1.0.0", None, Some(REGISTRY))]).len(), 1);
        assert_eq!(check(vec![package("bad", "1.0.0", Some("MIT"), Some("git+https://a.b/c"))]).len(), 1);
        assert_eq!(
            check(vec![package("syn", "1.0.0", Some("MIT"), Some(REGISTRY))]).len(),
            1,
            "no longer twice"
        );
    }
}
