//! Handles and the pump under many schedules: nothing that was taken is forgotten, and nothing outlives the hub.

use shuttle::thread;

use super::*;
use crate::sync::model::{Bell, check};

struct Rig {
    hub: Arc<Hub>,
    link: Arc<Link>,
    bell: Arc<Bell>,
}

fn rig() -> Rig {
    let hub = Hub::new(ChannelLayout::default(), &Limits::default(), StreamOpener::Client);
    let id = ConnectionId::new(0, 1);
    let link = Arc::new(Link::new(id, Arc::clone(&hub)));
    hub.links.write().unwrap().insert(id, Arc::clone(&link));
    let bell = Arc::new(Bell::default());
    hub.serve(Waker::from(Arc::clone(&bell)));
    Rig { hub, link, bell }
}

/// What a pump does with the hub.
#[derive(Default)]
struct Pump {
    backlog: Backlog,
    orders: Vec<Order>,
    commands: usize,
    resumed: usize,
}

impl Pump {
    /// One turn, if the bell rang: without it the pump sleeps on.
    fn turn(&mut self, rig: &Rig) {
        if !rig.bell.take() {
            return;
        }
        let mut links = self.backlog.start(&rig.hub);
        for link in links.drain(..) {
            loop {
                #[cfg(feature = "tokio")]
                if link.inbox.take_resume() {
                    self.resumed += 1;
                }
                self.orders.extend(std::iter::from_fn(|| link.take_order(false)));
                #[cfg(feature = "tokio")]
                if link.is_wanted() {
                    continue;
                }
                break;
            }
        }
        self.backlog.finish(links);
        self.commands += std::iter::from_fn(|| rig.hub.next_command()).count();
    }

    fn payloads_of(&self, handle: u8) -> Vec<u8> {
        let payloads = self.orders.iter().filter_map(|order| match order {
            Order::Message(_, data, _) => Some((data[0], data[1])),
            _ => None,
        });
        payloads.filter(|&(from, _)| from == handle).map(|(_, number)| number).collect()
    }
}

fn send(link: &Link, handle: u8, number: u8) -> Result<(), SendError> {
    let to = if number == 0 { Pending::Queued } else { Pending::Urgent };
    link.send(Bytes::copy_from_slice(&[handle, number]), 0, to)
}

#[test]
fn model_every_order_reaches_a_pump_that_sleeps_until_it_is_woken() {
    check(|| {
        let rig = rig();
        let handles: Vec<_> = (0..2)
            .map(|handle| {
                let (hub, link) = (Arc::clone(&rig.hub), Arc::clone(&rig.link));
                thread::spawn(move || {
                    for number in 0..2 {
                        assert_eq!(send(&link, handle, number), Ok(()));
                    }
                    assert!(hub.command(Command::Rebind));
                })
            })
            .collect();
        let mut pump = Pump::default();
        for _ in 0..3 {
            pump.turn(&rig);
            thread::yield_now();
        }
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        pump.turn(&rig);
        for handle in 0..2 {
            assert_eq!(pump.payloads_of(handle), [0, 1], "each once, in the order of its handle");
        }
        assert_eq!((pump.commands, rig.hub.pending()), (2, Pending::Nothing));
        assert!(!lock(&rig.link.queue).listed);
    });
}

#[cfg(feature = "tokio")]
#[test]
fn model_a_reader_that_made_room_is_seen_while_the_pump_empties_its_link() {
    check(|| {
        let rig = rig();
        let (reader, sender) = (Arc::clone(&rig.link), Arc::clone(&rig.link));
        let threads = [
            thread::spawn(move || reader.resume()),
            thread::spawn(move || assert_eq!(send(&sender, 0, 0), Ok(()))),
        ];
        let mut pump = Pump::default();
        pump.turn(&rig);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        pump.turn(&rig);
        assert_eq!((pump.resumed, pump.payloads_of(0).len()), (1, 1));
    });
}

#[test]
fn model_what_is_ordered_while_the_pump_ends_is_seen_or_given_up_and_keeps_nothing_alive() {
    check(|| {
        let rig = rig();
        let (sender, closer) = (Arc::clone(&rig.link), Arc::clone(&rig.link));
        let threads = [
            thread::spawn(move || {
                // Whether it was in time depends on the schedule.
                let _ = send(&sender, 0, 1);
            }),
            thread::spawn(move || closer.close()),
        ];
        let mut pump = Pump::default();
        pump.turn(&rig);
        rig.hub.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(rig.link.state(), ConnectionState::Disconnected);
        assert_eq!(send(&rig.link, 0, 0), Err(SendError::ConnectionClosed));
        assert!(!rig.hub.command(Command::Rebind));
        assert!(lock(&rig.link.queue).orders.is_empty());
        let Rig { hub, link, .. } = rig;
        let left = Arc::downgrade(&hub);
        drop((pump, link, hub));
        assert!(left.upgrade().is_none(), "the hub and its links hold each other");
    });
}
