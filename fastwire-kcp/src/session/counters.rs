//! What sessions count, under kcp-go's names.

use crate::crypt::OpenError;

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident = $name:literal,)*) => {
        /// Counters of one session, or of all of a process.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Counters {
            /// kcp-go's names, in the order of [`values`](Self::values).
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// The figures, in the order of [`NAMES`](Self::NAMES).
            pub fn values(&self) -> impl Iterator<Item = u64> {
                [$(self.$field,)*].into_iter()
            }

            /// Adds what `newer` counted since `older`, which must be an earlier copy of it.
            pub fn add_since(&mut self, newer: &Self, older: &Self) {
                $(self.$field += newer.$field.saturating_sub(older.$field);)*
            }
        }
    };
}

counters! {
    /// Bytes the application wrote.
    bytes_sent = "BytesSent",
    /// Bytes the application read.
    bytes_received = "BytesReceived",
    /// Most sessions that were open at once.
    max_conn = "MaxConn",
    /// Sessions opened from this side.
    active_opens = "ActiveOpens",
    /// Sessions opened by a peer.
    passive_opens = "PassiveOpens",
    /// Sessions open now.
    curr_estab = "CurrEstab",
    /// Datagrams too short, of an unknown form, or of another conversation or address.
    in_errs = "InErrs",
    /// Datagrams with a wrong checksum or tag.
    in_csum_errors = "InCsumErrors",
    /// Datagrams that the core refused.
    kcp_in_errors = "KCPInErrors",
    /// Datagrams received.
    in_pkts = "InPkts",
    /// Datagrams sent.
    out_pkts = "OutPkts",
    /// Bytes of segments received.
    in_bytes = "InBytes",
    /// Bytes of datagrams sent.
    out_bytes = "OutBytes",
    /// Segments received.
    in_segs = "InSegs",
    /// Data segments sent, resends included.
    out_segs = "OutSegs",
    /// Resends of any kind.
    retrans_segs = "RetransSegs",
    /// Resends because later segments were acknowledged.
    fast_retrans_segs = "FastRetransSegs",
    /// Resends of overtaken segments for want of new data.
    early_retrans_segs = "EarlyRetransSegs",
    /// Resends after a timeout.
    lost_segs = "LostSegs",
    /// Data segments that had arrived before.
    repeat_segs = "RepeatSegs",
    /// Groups of error correction of which all data arrived.
    fec_full_shard_set = "FECFullShardSet",
    /// Parity packets received.
    fec_parity_shards = "FECParityShards",
    /// Error-correction packets that made no sense.
    fec_errs = "FECErrs",
    /// Packets that error correction brought back.
    fec_recovered = "FECRecovered",
    /// Out-of-band messages received.
    oob_packets = "OOBPackets",
    /// Datagrams, or out-of-band messages, dropped because a queue was full.
    overflows = "Overflows",
}

impl Counters {
    /// A datagram that would not open.
    pub(crate) fn refused(&mut self, error: &OpenError) {
        self.in_pkts += 1;
        match error {
            OpenError::Short { .. } => self.in_errs += 1,
            OpenError::Checksum | OpenError::Tag => self.in_csum_errors += 1,
        }
    }

    /// A datagram that belongs nowhere.
    #[cfg(feature = "tokio")]
    pub(crate) fn strayed(&mut self) {
        self.in_pkts += 1;
        self.in_errs += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_add_up() {
        let older = Counters { in_pkts: 3, ..Counters::default() };
        let newer = Counters { in_pkts: 10, out_bytes: 7, ..Counters::default() };
        let mut sum = Counters { in_pkts: 1, ..Counters::default() };
        sum.add_since(&newer, &older);
        assert_eq!(sum, Counters { in_pkts: 8, out_bytes: 7, ..Counters::default() });
        assert_eq!(sum.values().count(), Counters::NAMES.len());
    }
}
