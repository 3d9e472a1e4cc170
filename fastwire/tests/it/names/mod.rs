//! Every row of docs/names.md: its Rust name compiles, its default is what it says, and no name is missing.

/// Notes a row, and compiles (and runs) what uses its Rust name.
macro_rules! row {
    ($rows:ident, $go:literal, $rust:literal, $use:expr) => {
        $rows.push(($go.to_owned(), $rust.to_owned()));
        #[allow(clippy::let_unit_value, reason = "some uses are assertions")]
        let _ = $use;
    };
}

mod errors;
mod facade;
mod layers;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use fastwire::proto::Endpoint;
use fastwire::transport::MemoryNetwork;
use fastwire::{Client, Server};

use self::facade::UseRows;

/// The names that the Go documentation uses, one a line.
const GO_NAMES: &str = include_str!("go_names.txt");

/// Go name, and Rust name as docs/names.md writes it.
type Row = (String, String);

/// The rows of docs/names.md.
fn table() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/names.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let go = cells.next()?.strip_suffix('`')?.to_owned();
        Some((go, cells.next()?.trim_matches('`').to_owned()))
    };
    let names = text.split("## What behaves differently").next().unwrap_or_default();
    names.lines().filter_map(row).collect()
}

#[test]
fn every_name_of_the_go_documentation_is_in_the_table() {
    let table: Vec<String> = table().into_iter().map(|(go, _)| go).collect();
    let in_table: BTreeSet<&str> = table.iter().map(String::as_str).collect();
    let wanted: BTreeSet<&str> = GO_NAMES.lines().collect();
    assert_eq!(table.len(), in_table.len(), "a name stands twice");
    assert_eq!(in_table, wanted);
}

#[test]
fn every_row_of_the_table_is_true() {
    let mut rows = [layers::rows(), facade::rows(), errors::rows()].concat();
    let mut used = UseRows::default();
    let network = MemoryNetwork::new();
    let address = "10.0.0.1:7777".parse().expect("an address");
    let mut server = Server::builder().build(network.bind(address).expect("free")).expect("a server");
    let own = network.bind("10.0.0.2:0".parse().expect("an address")).expect("free");
    let mut client = Client::builder().build(own).expect("a client");
    client.connect_to(address).expect("an address");
    let mut now = Instant::now();
    for _ in 0..100 {
        now += Duration::from_millis(10);
        server.tick(now, &mut used);
        client.tick(now, &mut ());
        if !used.rows.is_empty() {
            break;
        }
    }
    rows.append(&mut used.rows);
    let id = server.connections().next().expect("a connection");
    let token = Endpoint::migration_token(server.endpoint(), id);
    assert_eq!(token, None, "migration is off by default");
    rows.push(("Connection.MigrationToken".into(), "proto::Endpoint::migration_token".into()));

    let mut table = table();
    table.sort();
    rows.sort();
    for (row, line) in rows.iter().zip(&table) {
        assert_eq!(row, line, "the test's row, the table's row");
    }
    assert_eq!(rows.len(), table.len());
}
