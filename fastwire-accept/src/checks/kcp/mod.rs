//! K1 to K5: KCP, against recorded bytes and side by side with tokio_kcp.

mod cost;
mod ends;

pub(super) use cost::Cost;
