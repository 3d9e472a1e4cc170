//! The systems side by side: one file each, and one table of their names.

pub mod enet;
pub mod fastwire;
pub mod kcp;
pub mod quic;
pub mod raw;
pub mod renet;
pub mod stream;
pub mod tcp;

use crate::poll;
use crate::report::Report;
use crate::system::{Args, Outcome};

/// Starts the server that the arguments name; returns when the parent is done with it.
pub fn serve(args: &Args) -> Outcome<()> {
    match args.text("system") {
        name if name.starts_with("fastwire") => fastwire::serve(args),
        "renet" => renet::serve(args),
        "enet" => enet::serve(args),
        "raw" | "raw-batched" => raw::serve(args),
        "quinn" | "quinn-bbr" => stream::runtime()?.block_on(quic::serve(args)),
        "kcp" => stream::runtime()?.block_on(kcp::serve(args)),
        "tcp" => stream::runtime()?.block_on(tcp::serve(args)),
        other => Err(format!("no system {other:?}").into()),
    }
}

/// Runs the client's side of a workload.
pub fn drive(args: &Args) -> Outcome<Report> {
    match args.text("system") {
        name if name.starts_with("fastwire") => fastwire::drive(args),
        "renet" => poll::drive::<renet::Client>(args),
        "enet" => poll::drive::<enet::Client>(args),
        "raw" | "raw-batched" => raw::drive(args),
        "quinn" | "quinn-bbr" => stream::runtime()?.block_on(quic::drive(args)),
        "kcp" => stream::runtime()?.block_on(kcp::drive(args)),
        "tcp" => stream::runtime()?.block_on(tcp::drive(args)),
        other => Err(format!("no system {other:?}").into()),
    }
}
