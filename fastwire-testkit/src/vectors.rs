//! Golden vectors: finds the directory, reads `.json` or `.json.zst`, says what it read.
//!
//! The project's own copies are `tests/vectors` (base profile), `tests/vectors-extended` (extended profile) and
//! `tests/vectors-kcp` (KCP). `FASTWIRE_VECTORS`, `FASTWIRE_EXTENDED_VECTORS` and `FASTWIRE_KCP_VECTORS` name other directories of
//! the same form, absolute or relative to the workspace root.
//!
//! Everything here panics with the path and the reason when a directory or file is missing or malformed: a vector test
//! that reads nothing must not pass.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub use serde_json::Value;

/// The directory of the base protocol's vectors.
///
/// # Panics
/// When it does not exist.
pub fn dir() -> PathBuf {
    locate("FASTWIRE_VECTORS", "tests/vectors")
}

/// The directory of the KCP vectors.
///
/// # Panics
/// When it does not exist.
pub fn kcp_dir() -> PathBuf {
    locate("FASTWIRE_KCP_VECTORS", "tests/vectors-kcp")
}

/// The directory of the extended profile's vectors.
///
/// # Panics
/// When it does not exist.
pub fn extended_dir() -> PathBuf {
    locate("FASTWIRE_EXTENDED_VECTORS", "tests/vectors-extended")
}

/// One file of [`extended_dir`] by its name without extension: `"handshakes"`.
///
/// # Panics
/// When there is no such file or it is not JSON.
pub fn extended_load(name: &str) -> Value {
    load_from(&extended_dir(), name)
}

/// One file of [`dir`] by its name without extension, such as `"keys"`.
///
/// # Panics
/// When there is no such file or it is not JSON.
pub fn load(name: &str) -> Value {
    load_from(&dir(), name)
}

/// One file of [`kcp_dir`] by its name without extension: `"crypto"`, `"fec"`, `"listener"`.
///
/// # Panics
/// When there is no such file or it is not JSON.
pub fn kcp_load(name: &str) -> Value {
    load_from(&kcp_dir(), name)
}

/// The zstd dictionary of the compression samples, as its bytes.
///
/// # Panics
/// When the file is missing.
pub fn dictionary() -> Vec<u8> {
    let path = dir().join("dict.zstd");
    fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

/// Every recorded conversation of [`dir`], `session_*`, by name.
///
/// # Panics
/// When there is none.
pub fn sessions() -> Vec<(String, Value)> {
    load_all(&dir(), "session_")
}

/// Every trace of the KCP core, `traces/*` of [`kcp_dir`], by name.
///
/// # Panics
/// When there is none.
pub fn kcp_traces() -> Vec<(String, Value)> {
    load_all(&kcp_dir().join("traces"), "")
}

/// Every recorded kcp-go session, `sessions/*` of [`kcp_dir`], by name.
///
/// # Panics
/// When there is none.
pub fn kcp_sessions() -> Vec<(String, Value)> {
    load_all(&kcp_dir().join("sessions"), "")
}

/// The bytes of a hex string.
///
/// # Panics
/// When the value is not a string of pairs of hex digits.
#[track_caller]
pub fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("not a hex string: {value}"));
    assert!(text.len().is_multiple_of(2), "odd number of hex digits: {text:?}");
    let digit = |d: u8| match d {
        b'0'..=b'9' => d - b'0',
        b'a'..=b'f' => d - b'a' + 10,
        b'A'..=b'F' => d - b'A' + 10,
        _ => panic!("not a hex digit: {:?} in {text:?}", d as char),
    };
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// An unsigned number, written as one or (64-bit numbers) as a decimal string.
///
/// # Panics
/// When the value is neither.
#[track_caller]
pub fn number(value: &Value) -> u64 {
    let parsed = value.as_str().map_or_else(|| value.as_u64(), |text| text.parse().ok());
    parsed.unwrap_or_else(|| panic!("not an unsigned number: {value}"))
}

/// The elements of an array.
///
/// # Panics
/// When the value is no array, or an empty one: a loop over no cases proves nothing.
#[track_caller]
pub fn cases(value: &Value) -> &[Value] {
    match value.as_array() {
        Some(list) if !list.is_empty() => list,
        _ => panic!("not an array with at least one case: {value}"),
    }
}

fn locate(variable: &str, default: &str) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.parent().unwrap_or(manifest);
    let named = std::env::var_os(variable).filter(|dir| !dir.is_empty());
    let path = root.join(named.as_deref().unwrap_or(default.as_ref()));
    assert!(path.is_dir(), "no directory {} (set by {variable}, default {default})", path.display());
    path
}

fn load_from(dir: &Path, name: &str) -> Value {
    let plain = dir.join(format!("{name}.json"));
    let packed = dir.join(format!("{name}.json.zst"));
    let path = if plain.is_file() { plain } else { packed };
    let value = read(&path);
    println!("vectors: {} has {} cases", path.display(), count(&value));
    value
}

fn load_all(dir: &Path, prefix: &str) -> Vec<(String, Value)> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("cannot list {}: {e}", dir.display()));
    // By name, so that a file present both plain and packed counts once.
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.unwrap_or_else(|e| panic!("cannot list {}: {e}", dir.display())).path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let stem = name.strip_suffix(".zst").unwrap_or(name).strip_suffix(".json");
        if let Some(stem) = stem.filter(|stem| stem.starts_with(prefix)) {
            files.insert(stem.to_owned(), path);
        }
    }
    assert!(!files.is_empty(), "no {prefix}*.json or .json.zst in {}", dir.display());
    let loaded: Vec<_> = files.into_iter().map(|(name, path)| (name, read(&path))).collect();
    let total: usize = loaded.iter().map(|(_, value)| count(value)).sum();
    println!("vectors: {} files {prefix}* in {}, {total} cases", loaded.len(), dir.display());
    loaded
}

fn read(path: &Path) -> Value {
    let raw = fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    let json = if path.extension().is_some_and(|extension| extension == "zst") {
        zstd::decode_all(&raw[..]).unwrap_or_else(|e| panic!("cannot decompress {}: {e}", path.display()))
    } else {
        raw
    };
    serde_json::from_slice(&json).unwrap_or_else(|e| panic!("{} is not JSON: {e}", path.display()))
}

/// What a reader would call the cases of a file: the elements of its top-level arrays.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.len(),
        Value::Object(fields) => fields.values().filter_map(Value::as_array).map(Vec::len).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_vectors_is_found_and_read() {
        assert!(!cases(&load("keys")["derivations"]).is_empty());
        assert!(!cases(&kcp_load("crypto")["packets"]).is_empty());
        assert!(
            sessions().iter().all(|(name, value)| {
                name.starts_with("session_") && !cases(&value["datagrams"]).is_empty()
            })
        );
        assert!(kcp_traces().iter().all(|(_, value)| !cases(&value["runs"]).is_empty()));
        assert!(kcp_sessions().iter().all(|(_, value)| !cases(&value["datagrams"]).is_empty()));
        assert_eq!(dictionary()[..4], 0xec30_a437_u32.to_le_bytes(), "zstd's dictionary magic");
    }

    #[test]
    fn plain_and_packed_files_are_both_read_and_count_once() {
        let dir = std::env::temp_dir().join(format!("fastwire-testkit-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("temporary directory");
        let pack = |json: &str| zstd::encode_all(json.as_bytes(), 1).expect("compresses");
        fs::write(dir.join("session_a.json"), r#"{"list":[1,2]}"#).expect("writes");
        fs::write(dir.join("session_b.json.zst"), pack(r#"{"list":[3]}"#)).expect("writes");
        fs::write(dir.join("session_b.json"), r#"{"list":[3]}"#).expect("writes");
        fs::write(dir.join("other.json.zst"), pack("[4]")).expect("writes");
        fs::write(dir.join("README.md"), "not a vector").expect("writes");
        let names: Vec<_> = load_all(&dir, "session_").into_iter().map(|(name, _)| name).collect();
        let other = load_from(&dir, "other");
        let nothing = std::panic::catch_unwind(|| load_all(&dir, "absent_"));
        fs::remove_dir_all(&dir).expect("removes");
        assert_eq!(names, ["session_a", "session_b"]);
        assert_eq!(number(&other[0]), 4);
        assert!(nothing.is_err(), "a directory without the wanted files must not pass");
    }

    #[test]
    fn hex_and_numbers_refuse_what_they_are_not() {
        assert_eq!(hex(&"00fF10".into()), [0, 255, 16]);
        assert_eq!(number(&"18446744073709551615".into()), u64::MAX);
        for bad in ["0", "0g", " 00"] {
            assert!(std::panic::catch_unwind(|| hex(&bad.into())).is_err(), "{bad:?}");
        }
        assert!(std::panic::catch_unwind(|| number(&"-1".into())).is_err());
        assert!(std::panic::catch_unwind(|| cases(&Value::Array(Vec::new())).len()).is_err());
    }
}
