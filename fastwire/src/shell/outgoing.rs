//! Trains that wait for a send call: those of many connections leave in one, where the system can.

use smallvec::SmallVec;

use crate::ConnectionId;
use crate::proto::{Aside, Route, TransmitBuf};
use crate::transport::{SendOutcome, Transmit, Transport};

/// A send call carries at most so many trains, as many as receive calls bring.
const MOST_TRAINS: usize = 32;
/// So many bytes are worth a call of their own, and stay in the processor's cache until then.
const MOST_BYTES: usize = 32 << 10;

/// The train under construction, and those before it that are still to be sent, in order.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) buf: TransmitBuf,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    train: Aside,
    route: Route,
    /// Whose it is; `None` for answers to strangers.
    connection: Option<ConnectionId>,
}

impl Outgoing {
    pub(super) fn new(max_segments: usize) -> Self {
        Self { buf: TransmitBuf::new(max_segments), waiting: Vec::new() }
    }

    /// Has the train under construction wait.
    pub(super) fn push(&mut self, route: Route, connection: Option<ConnectionId>) {
        let train = self.buf.set_aside();
        self.waiting.push(Waiting { train, route, connection });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether what waits is worth a send call.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_TRAINS || self.buf.aside_len() >= MOST_BYTES
    }

    /// Offers all that waits to the transport. A train that meets an error is lost, and `lost` told. Gives false if the
    /// transport takes no more; the rest waits on.
    pub(super) fn send(
        &mut self,
        transport: &mut impl Transport,
        mut lost: impl FnMut(Option<ConnectionId>, &std::io::Error),
    ) -> bool {
        let mut done = 0;
        while let Some(rest) = self.waiting.get(done..).filter(|rest| !rest.is_empty()) {
            let trains: SmallVec<[Transmit<'_>; MOST_TRAINS]> =
                rest.iter().map(|waiting| self.buf.transmit_aside(&waiting.train, waiting.route)).collect();
            let (sent, then) = match trains.as_slice() {
                [only] => match transport.send(only) {
                    Ok(SendOutcome::Sent) => (1, Ok(SendOutcome::Sent)),
                    other => (0, other),
                },
                many => transport.send_many(many),
            };
            let connection = rest.get(sent).and_then(|waiting| waiting.connection);
            done += sent;
            match then {
                Ok(SendOutcome::Sent) => {}
                Ok(SendOutcome::Blocked) => {
                    self.waiting.drain(..done);
                    return false;
                }
                Err(error) => {
                    lost(connection, &error);
                    done += 1;
                }
            }
        }
        self.waiting.clear();
        self.buf.forget_all();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::transport::{RecvBatch, SocketId};

    /// Does with one train after the other what the script says; then takes everything.
    struct Scripted {
        script: VecDeque<u8>,
        left: Vec<Vec<u8>>,
        refused: Vec<Vec<u8>>,
    }

    impl Transport for Scripted {
        fn recv(&mut self, _: &mut RecvBatch) -> io::Result<usize> {
            Ok(0)
        }

        fn send(&mut self, transmit: &Transmit<'_>) -> io::Result<SendOutcome> {
            match self.script.pop_front() {
                Some(0) => Ok(SendOutcome::Blocked),
                Some(1) => {
                    self.refused.push(transmit.contents.to_vec());
                    Err(io::ErrorKind::PermissionDenied.into())
                }
                _ => {
                    self.left.push(transmit.contents.to_vec());
                    Ok(SendOutcome::Sent)
                }
            }
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
        }
    }

    proptest! {
        /// Whatever the transport does: every train leaves once and in order, or is lost with an error that is told of its
        /// connection; one that was blocked waits before those that come after it.
        #[test]
        fn trains_leave_in_order_and_errors_are_told_of_whose_they_are(
            script in prop::collection::vec(0u8..8, 0..40),
            flushes in prop::collection::vec(0usize..40, 1..5),
        ) {
            let mut transport =
                Scripted { script: script.into(), left: Vec::new(), refused: Vec::new() };
            let mut outgoing = Outgoing::new(1);
            let route =
                Route { socket: SocketId::PRIMARY, remote: SocketAddr::from(([10, 0, 0, 1], 7)), source: None };
            let (mut pushed, mut told) = (0u32, Vec::new());
            for trains in flushes.into_iter().chain([1]) {
                for _ in 0..trains {
                    outgoing.buf.push_datagram(&vec![7; 1 + pushed as usize]);
                    outgoing.push(route, Some(ConnectionId::new(pushed, 1)));
                    pushed += 1;
                }
                while !outgoing.send(&mut transport, |connection, _| told.push(connection)) {
                    prop_assert!(!outgoing.is_empty());
                }
                prop_assert!(outgoing.is_empty());
            }
            let lost: Vec<_> = told.into_iter().map(|id| id.map_or(0, |id: ConnectionId| id.index() + 1)).collect();
            let lengths = |trains: &[Vec<u8>]| trains.iter().map(Vec::len).collect::<Vec<_>>();
            prop_assert_eq!(&lost, &lengths(&transport.refused));
            let expected: Vec<_> = (1..=pushed as usize).filter(|length| !lost.contains(length)).collect();
            prop_assert_eq!(lengths(&transport.left), expected);
        }
    }
}
