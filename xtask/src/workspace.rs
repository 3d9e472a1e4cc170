//! The workspace as cargo sees it: members, their targets, features and dependencies.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::shell::Shell;

/// Everything `cargo metadata` says that the commands here need.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// The workspace's own packages, by name.
    pub(crate) members: Vec<Member>,
    /// Every other package of the lock file, whatever target or kind needs it.
    pub(crate) foreign: Vec<Foreign>,
}

/// One of our own packages.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    /// Whether users may depend on it, that is whether it may be published.
    pub(crate) published: bool,
    pub(crate) rust_version: Option<Version>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) targets: Vec<Target>,
    pub(crate) dependencies: Vec<Dependency>,
    /// `[package.metadata]` of its manifest.
    pub(crate) metadata: Value,
}

/// Something a package builds.
pub(crate) struct Target {
    pub(crate) name: String,
    /// `lib`, `bin`, `example`, `test`, `bench` …
    pub(crate) kind: String,
    /// Whether `cargo test` runs it.
    pub(crate) tested: bool,
}

/// A line of a `[dependencies]` table.
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) development: bool,
}

/// A package of someone else's.
pub(crate) struct Foreign {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) rust_version: Option<Version>,
    /// The SPDX expression of its manifest.
    pub(crate) licence: Option<String>,
    /// Where cargo got it; `None`: from this machine.
    pub(crate) source: Option<String>,
}

/// A Rust version: major, minor, patch.
pub(crate) type Version = (u32, u32, u32);

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self, String> {
        let text = Shell::cargo("metadata --format-version 1").directory(root()).output()?;
        let metadata = serde_json::from_str(&text).map_err(|e| format!("cargo metadata is not JSON: {e}"))?;
        Ok(Self::read(&metadata))
    }

    /// The member of that name.
    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The members users may depend on.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.published)
    }

    fn read(metadata: &Value) -> Self {
        let ours = strings(&metadata["workspace_members"]);
        let (members, foreign): (Vec<_>, Vec<_>) =
            list(&metadata["packages"]).partition(|package| ours.contains(&text(&package["id"])));
        let mut members: Vec<_> = members.into_iter().map(Member::read).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let foreign = foreign.into_iter().map(|package| Foreign {
            name: text(&package["name"]),
            version: text(&package["version"]),
            rust_version: version(&package["rust_version"]),
            licence: package["license"].as_str().map(Into::into),
            source: package["source"].as_str().map(Into::into),
        });
        Self {
            root: text(&metadata["workspace_root"]).into(),
            target: text(&metadata["target_directory"]).into(),
            members,
            foreign: foreign.collect(),
        }
    }
}

impl Member {
    fn read(package: &Value) -> Self {
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        let features = package["features"].as_object().into_iter().flatten();
        let targets = list(&package["targets"]).map(|target| Target {
            name: text(&target["name"]),
            kind: strings(&target["kind"]).into_iter().next().unwrap_or_default(),
            tested: target["test"].as_bool().unwrap_or(false),
        });
        let dependencies = list(&package["dependencies"]).map(|dependency| Dependency {
            name: text(&dependency["name"]),
            development: dependency["kind"] == "dev",
        });
        Self {
            name: text(&package["name"]),
            directory: manifest.parent().map(Path::to_path_buf).unwrap_or_default(),
            // null: anywhere; []: nowhere.
            published: package["publish"].is_null(),
            rust_version: version(&package["rust_version"]),
            features: features.map(|(name, parts)| (name.clone(), strings(parts))).collect(),
            targets: targets.collect(),
            dependencies: dependencies.collect(),
            metadata: package["metadata"].clone(),
        }
    }

    /// The targets of a kind: `example`, `bench` …
    pub(crate) fn targets(&self, kind: &str) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(move |target| target.kind == kind)
    }
}

/// The workspace's root directory, wherever the command was typed.
pub(crate) fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

fn version(value: &Value) -> Option<Version> {
    let mut parts = value.as_str()?.split('.').map(|part| part.parse().unwrap_or(0));
    Some((parts.next()?, parts.next().unwrap_or(0), parts.next().unwrap_or(0)))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn strings(value: &Value) -> Vec<String> {
    list(value).map(text).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_workspace_is_read() {
        let workspace = Workspace::load().expect("cargo metadata works here");
        let own = workspace.member("xtask").expect("xtask is a member");
        assert!(!own.published);
        assert!(own.targets("bin").any(|target| target.name == "xtask"));
        assert!(own.dependencies.iter().any(|dependency| dependency.name == "serde_json"));
        assert!(workspace.foreign.iter().any(|package| package.name == "serde_json"));
        let facade = workspace.member("fastwire").expect("fastwire is a member");
        assert!(facade.published && facade.features.contains_key("default"));
    }

    #[test]
    fn rust_versions_compare_as_numbers() {
        assert!(version(&"1.88".into()) < version(&"1.100.1".into()));
        assert_eq!(version(&"1.88".into()), Some((1, 88, 0)));
        assert_eq!(version(&Value::Null), None);
    }
}
