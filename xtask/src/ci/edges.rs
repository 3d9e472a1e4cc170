//! Which crate may know which: the layers of ARCHITECTURE.md, checked against `cargo metadata`.

use crate::workspace::{Member, Version, Workspace};

/// Every member and the members it may depend on. A new crate gets a line here, with thought.
const EDGES: &[(&str, Knows)] = &[
    ("fastwire-wire", Knows::Only(&[])),
    ("fastwire-crypto", Knows::Only(&[])),
    ("fastwire-compress", Knows::Only(&[])),
    ("fastwire-congestion", Knows::Only(&[])),
    ("fastwire-fec", Knows::Only(&[])),
    ("fastwire-reliability", Knows::Only(&["fastwire-wire"])),
    ("fastwire-kcp", Knows::Only(&["fastwire-fec"])),
    ("fastwire-testkit", Knows::Only(&["fastwire-wire"])),
    ("xtask", Knows::Only(&[])),
    ("fastwire", Knows::All),
    ("fastwire-accept", Knows::All),
    ("fastwire-demo", Knows::All),
    ("fastwire-tunnel", Knows::Only(&["fastwire", "fastwire-kcp"])),
];

/// Crates only our own tests and tools use; nothing published may depend on them except for its tests.
const TOOLS: &[&str] = &["fastwire-testkit", "fastwire-accept", "xtask"];

enum Knows {
    Only(&'static [&'static str]),
    All,
}

/// What is wrong with the dependencies, a line each.
pub(super) fn faults(workspace: &Workspace) -> Vec<String> {
    let mut faults: Vec<_> =
        workspace.members.iter().flat_map(|member| unknown_edges(workspace, member)).collect();
    let ours = workspace.member("fastwire").and_then(|member| member.rust_version);
    for package in &workspace.foreign {
        if let Some(needed) = package.rust_version.filter(|needed| ours.is_some_and(|ours| *needed > ours)) {
            let (name, version, needed) = (&package.name, &package.version, readable(needed));
            faults.push(format!(
                "{name} {version} needs Rust {needed}, more than our rust-version; pin an older one"
            ));
        }
    }
    faults
}

fn unknown_edges(workspace: &Workspace, member: &Member) -> Vec<String> {
    let Some((_, knows)) = EDGES.iter().find(|(name, _)| *name == member.name) else {
        return vec![format!("{}: say in xtask/src/ci/edges.rs which crates it may know", member.name)];
    };
    let mut faults = Vec::new();
    for dependency in &member.dependencies {
        let name = dependency.name.as_str();
        if workspace.member(name).is_none() {
            continue;
        }
        let tool = TOOLS.contains(&name);
        let allowed = match knows {
            _ if tool => dependency.development || TOOLS.contains(&member.name.as_str()),
            Knows::Only(names) => names.contains(&name),
            Knows::All => true,
        };
        if !allowed {
            faults.push(format!("{} must not know {name}", member.name));
        }
    }
    faults
}

fn readable((major, minor, patch): Version) -> String {
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Dependency, Foreign};

    fn member(name: &str, dependencies: &[(&str, bool)]) -> Member {
        Member {
            name: name.into(),
            directory: Default::default(),
            published: true,
            rust_version: Some((1, 88, 0)),
            features: Default::default(),
            targets: Vec::new(),
            dependencies: dependencies
                .iter()
                .map(|(name, development)| Dependency { name: (*name).into(), development: *development })
                .collect(),
            metadata: Default::default(),
        }
    }

    fn check(members: Vec<Member>, foreign: Vec<Foreign>) -> Vec<String> {
        faults(&Workspace { root: Default::default(), target: Default::default(), members, foreign })
    }

    #[test]
    fn a_leaf_that_knows_another_leaf_is_found() {
        let wire = || member("fastwire-wire", &[("thiserror", false)]);
        let kit = || member("fastwire-testkit", &[]);
        assert!(
            check(vec![wire(), member("fastwire-reliability", &[("fastwire-wire", false)])], vec![])
                .is_empty()
        );
        assert_eq!(
            check(vec![wire(), member("fastwire-crypto", &[("fastwire-wire", false)])], vec![]).len(),
            1
        );
        // Not even for its tests.
        assert_eq!(
            check(vec![wire(), member("fastwire-crypto", &[("fastwire-wire", true)])], vec![]).len(),
            1
        );
        assert!(
            check(vec![kit(), member("fastwire-crypto", &[("fastwire-testkit", true)])], vec![]).is_empty()
        );
        assert_eq!(check(vec![kit(), member("fastwire", &[("fastwire-testkit", false)])], vec![]).len(), 1);
        assert_eq!(check(vec![member("fastwire-new", &[])], vec![]).len(), 1, "a crate nobody placed");
    }

    #[test]
    fn a_dependency_that_needs_a_newer_rust_is_found() {
        let package = |minor| Foreign {
            name: "x".into(),
            version: "1".into(),
            rust_version: Some((1, minor, 0)),
            licence: None,
            source: None,
        };
        assert!(check(vec![member("fastwire", &[])], vec![package(88)]).is_empty());
        assert_eq!(check(vec![member("fastwire", &[])], vec![package(89)]).len(), 1);
    }
}
