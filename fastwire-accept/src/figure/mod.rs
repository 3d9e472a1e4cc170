//! `cargo xtask sim figure` and `table`: the congestion controllers on one bottleneck, as tables and pictures in docs/;
//! delays and goodput of whole endpoints.

mod chart;
mod runs;
mod table;

use std::{fs, io, path::Path};

use fastwire::congestion::CongestionMode::{Cubic, ModelBased};

use crate::outside::root;

/// The text between these in docs/congestion.md and docs/latency.md is written here.
const BEGIN: &str = "<!-- written by `cargo xtask sim figure` -->\n";
const TABLE_BEGIN: &str = "<!-- written by `cargo xtask sim table` -->\n";
const END: &str = "<!-- end of what is written -->\n";

/// What the command says of itself.
pub const HELP: &str = "\
cargo xtask sim figure

Plays the congestion controllers against one bottleneck in virtual time and writes the tables into docs/congestion.md
and the pictures beside it, into docs/figures. The same source gives the same bytes.
";

/// Writes tables and pictures.
///
/// # Errors
///
/// A file that cannot be read or written, or docs/congestion.md without the marks the tables go between.
pub fn write() -> Result<(), String> {
    let docs = root().join("docs");
    let (alone, by_loss) = runs::alone();
    let (recovery, changes) = runs::recovery();
    let charts = [
        ("throughput", by_loss),
        ("queue", runs::queue_chart()),
        ("sharing-model", runs::sharing_chart(ModelBased, ModelBased)),
        ("sharing-mixed", runs::sharing_chart(Cubic, ModelBased)),
        ("recovery", changes),
    ];
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    for (name, chart) in &charts {
        let path = docs.join(format!("figures/{name}.svg"));
        fs::write(&path, chart.svg()).map_err(|error| failed(&path, error))?;
        println!("{}", path.display());
    }
    let pictures = |names: &[&str]| -> String {
        let of = |name: &&str| {
            let title = charts.iter().find(|(known, _)| known == name).map_or("", |(_, chart)| &chart.title);
            format!("![{title}](figures/{name}.svg)\n\n")
        };
        names.iter().map(of).collect()
    };
    let text = format!(
        "### Alone\n\n{alone}\n{}### Together\n\n{}\n{}### When the line changes\n\n{recovery}\n{}### A game\n\n\
         200-byte messages, 240 bytes with their framing, 60 a second.\n\n{}\n",
        pictures(&["throughput", "queue"]),
        runs::sharing(),
        pictures(&["sharing-model", "sharing-mixed"]),
        pictures(&["recovery"]),
        runs::game(),
    );
    let path = docs.join("congestion.md");
    let page = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
    let page =
        between(&page, &text, BEGIN).ok_or_else(|| format!("{}: its marks are gone", path.display()))?;
    fs::write(&path, page).map_err(|error| failed(&path, error))?;
    println!("{}", path.display());
    Ok(())
}

/// Prints the tables of docs/latency.md and writes them there.
///
/// # Errors
///
/// A file that cannot be read or written, the page without its marks, or a run that broke.
pub fn write_table() -> Result<(), String> {
    let path = root().join("docs/latency.md");
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let text = table::tables()?;
    print!("{text}");
    let page = fs::read_to_string(&path).map_err(failed)?;
    let page = between(&page, &text, TABLE_BEGIN)
        .ok_or_else(|| format!("{}: its marks are gone", path.display()))?;
    fs::write(&path, page).map_err(failed)
}

/// The page with `text` between its marks.
fn between(page: &str, text: &str, begin: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{begin}\n{text}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_the_marks_stays() {
        let page = format!("before\n{BEGIN}old\n{END}after\n");
        let new = between(&page, "new\n", BEGIN).unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\nnew\n{END}after\n"));
        assert_eq!(between(&new, "new\n", BEGIN).unwrap(), new);
        assert!(between("no marks", "new", BEGIN).is_none());
    }
}
