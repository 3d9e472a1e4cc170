//! A fault as cargo-mutants describes it: where it is, what stands there instead, and a name that survives edits elsewhere in its file.

use std::ops::Range;

use serde_json::Value;

/// One small fault.
#[cfg_attr(test, derive(Default))]
pub(super) struct Fault {
    pub(super) package: String,
    /// From the workspace's root.
    pub(super) file: String,
    /// As cargo-mutants names it, line and column included.
    pub(super) name: String,
    start: (usize, usize),
    end: (usize, usize),
    replacement: String,
}

impl Fault {
    /// Reads what `cargo mutants --list --json` prints.
    pub(super) fn list(json: &str) -> Result<Vec<Self>, String> {
        let all: Vec<Value> =
            serde_json::from_str(json).map_err(|e| format!("cargo mutants --list --json: {e}"))?;
        all.iter()
            .map(|one| Self::read(one).ok_or_else(|| format!("cargo mutants --list --json: {one}")))
            .collect()
    }

    fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let place = |name: &str| {
            let number =
                |part: &str| value["span"][name][part].as_u64().and_then(|n| usize::try_from(n).ok());
            Some((number("line")?, number("column")?))
        };
        Some(Self {
            package: text("package")?,
            file: text("file")?,
            name: text("name")?,
            start: place("start")?,
            end: place("end")?,
            replacement: text("replacement")?,
        })
    }

    /// The file with the fault in it; `None` if the file has no such place.
    pub(super) fn put_into(&self, source: &str) -> Option<String> {
        let range = self.range(source)?;
        Some([source.get(..range.start)?, &self.replacement, source.get(range.end..)?].concat())
    }

    /// What is at fault, the line it is in and where in it. Stays the same while other lines change.
    pub(super) fn key(&self, source: &str) -> String {
        let (line, column) = self.start;
        let text = source.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let indent = text.chars().take_while(|c| c.is_whitespace()).count();
        let what = self.name.split_once(": ").map_or(self.name.as_str(), |(_, what)| what);
        format!("{}: {what}, at {} of `{}`", self.file, column.saturating_sub(indent), text.trim())
    }

    fn range(&self, source: &str) -> Option<Range<usize>> {
        let (start, end) = (offset(source, self.start)?, offset(source, self.end)?);
        (start <= end).then_some(start..end)
    }
}

/// The byte at which a line and a column begin, both counted from 1 and in characters.
fn offset(source: &str, (line, column): (usize, usize)) -> Option<usize> {
    let mut start = 0;
    for text in source.split_inclusive('\n').take(line.checked_sub(1)?) {
        start += text.len();
    }
    let rest = source.get(start..)?;
    let inside = rest.char_indices().map(|(at, _)| at).chain([rest.len()]).nth(column.checked_sub(1)?)?;
    Some(start + inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "fn f() {\n    // ä\n    a + b\n}\n";

    fn fault() -> Fault {
        let json = r#"[{"package": "p", "file": "p/src/f.rs", "name": "p/src/f.rs:3:7: replace + with - in f", "replacement": "-",
            "span": {"start": {"line": 3, "column": 7}, "end": {"line": 3, "column": 8}}}]"#;
        Fault::list(json).expect("as cargo-mutants prints it").remove(0)
    }

    #[test]
    fn a_fault_replaces_what_its_place_says_and_nothing_else() {
        assert_eq!(fault().put_into(SOURCE).as_deref(), Some("fn f() {\n    // ä\n    a - b\n}\n"));
        assert_eq!(fault().put_into("fn f() {}\n"), None);
    }

    #[test]
    fn its_key_stays_the_same_when_other_lines_come() {
        let mut moved = fault();
        moved.start.0 += 1;
        let key = fault().key(SOURCE);
        assert_eq!(key, moved.key(&format!("\n{SOURCE}")));
        assert_eq!(key, "p/src/f.rs: replace + with - in f, at 3 of `a + b`");
    }
}
