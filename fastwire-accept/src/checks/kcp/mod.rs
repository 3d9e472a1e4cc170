//! K1 to K5: KCP, against recorded bytes and side by side with tokio_kcp.

mod cost;
mod ends;
mod line;
mod live;
mod lossy;
mod many;
mod recorded;
mod stall;
mod tap;

pub(super) use cost::Cost;
pub(super) use live::Live;
pub(super) use lossy::Lossy;
pub(super) use many::Many;
pub(super) use recorded::Recorded;
