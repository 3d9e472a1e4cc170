//! The checks that are built, a file each.

mod alone;
mod amplification;
mod bottleneck;
mod clocks;
mod connecting;
mod floods;
mod foreign_peers;
mod fuzzing;
mod kcp;
mod latency;
mod matrix;
mod memory;
mod middleman;
mod mutation;
mod nonces;
mod outages;
mod own_controller;
mod quick_start;
mod rebinding;
mod restarts;
mod rule_breakers;
mod soak;
mod socket_errors;
mod speed;
mod spoofed_moves;
mod survival;
mod use_cases;
mod vectors;
mod veil;
mod volume;
mod wraparounds;

use crate::check::Check;

/// Every check that is built.
pub fn all() -> Vec<Box<dyn Check>> {
    let mut all: Vec<Box<dyn Check>> = vec![
        Box::new(matrix::Matrix),
        Box::new(connecting::Connecting),
        Box::new(outages::Outages),
        Box::new(volume::Volume),
        Box::new(socket_errors::SocketErrors),
        Box::new(clocks::Clocks),
        Box::new(restarts::Restarts),
        Box::new(rebinding::Rebinding),
        Box::new(wraparounds::Wraparounds),
        Box::new(soak::Soak),
        Box::new(foreign_peers::ForeignPeers),
        Box::new(survival::Survival),
        Box::new(floods::ConnectFlood),
        Box::new(floods::ResponseFlood),
        Box::new(amplification::Amplification),
        Box::new(memory::Memory),
        Box::new(middleman::Middleman),
        Box::new(spoofed_moves::SpoofedMoves),
        Box::new(nonces::Nonces),
        Box::new(veil::Noise),
        Box::new(fuzzing::Fuzzing),
        Box::new(rule_breakers::RuleBreakers),
        Box::new(vectors::StandardVectors),
        Box::new(mutation::Mutation),
        Box::new(alone::LeavesAlone),
        Box::new(quick_start::FirstCommand),
        Box::new(quick_start::SecondCommand),
        Box::new(kcp::Recorded),
        Box::new(kcp::Live),
        Box::new(kcp::Lossy),
        Box::new(kcp::Many),
        Box::new(kcp::Cost),
        Box::new(own_controller::OwnController),
        Box::new(use_cases::ThreeWays),
        Box::new(use_cases::EveryName),
        Box::new(speed::Layers),
        Box::new(latency::Latency),
        Box::new(bottleneck::Bottleneck),
    ];
    all.extend(speed::LINES.iter().map(|line| Box::new(line) as Box<dyn Check>));
    all
}
