#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod ack;
mod asks;
mod bandwidth;
mod channel_config;
mod channel_set;
mod channels;
mod config;
mod error;
pub mod extended;
mod fragments;
mod inbox;
mod layout;
mod loss;
mod outbox;
mod owed;
mod quality;
mod reassembly;
mod receiving;
mod recovery;
mod rtt;
mod seen;
mod sending;
mod space;

pub use asks::{MessageFate, Receipt, Terms};
pub use bandwidth::Bandwidth;
pub use channel_config::{ChannelConfig, Redundancy};
pub use channels::{Accepted, Channels, ChannelsStats, Delivery, Outgoing};
pub use config::{ChannelsConfig, Peer, Quota, RecoveryProfile};
pub use error::{GiveUp, PushError, Violation};
pub use layout::{ChannelLayout, ChannelLayoutBuilder, DeliveryMode, LayoutError, StreamOpener};
pub use quality::ReceiveQuality;
pub use recovery::{CongestionEvent, Outcome};
pub use rtt::Rtt;

// What appears in this crate's signatures, so that it works as the only dependency.
pub use bytes::Bytes;
pub use fastwire_wire::{FragmentFlags, FragmentHeader};
