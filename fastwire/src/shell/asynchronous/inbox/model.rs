//! The pump, a reader and other tasks at one inbox, under many schedules.

use std::sync::Arc;

use shuttle::{future::block_on, thread};

use super::*;
use crate::sync::model::check;
use crate::{MessageFate, ReceiptId};

#[test]
fn model_a_reader_has_every_message_in_order_and_sleeps_through_none() {
    check(|| {
        const LIMIT: usize = 2;
        let inbox = Arc::new(Inbox::default());
        let pump = Arc::clone(&inbox);
        let pump = thread::spawn(move || {
            let paused = (0..5)
                .filter(|&number| pump.push((0, Bytes::copy_from_slice(&[number])), None, LIMIT, false))
                .count();
            pump.end();
            paused
        });
        let (mut got, mut resumed) = (Vec::new(), 0);
        block_on(async {
            loop {
                match inbox.take(LIMIT) {
                    Taken::Message((_, data), _, resume) => {
                        got.push(data[0]);
                        resumed += usize::from(resume);
                    }
                    Taken::Nothing => inbox.readable().await,
                    Taken::End => return,
                }
            }
        });
        let paused = pump.join().unwrap();
        assert_eq!(got, [0, 1, 2, 3, 4]);
        // A pause that the end overtakes is not taken back.
        assert!(resumed <= paused && paused <= resumed + 1, "paused {paused} times, resumed {resumed}");
    });
}

#[test]
fn model_a_receipt_goes_to_one_of_two_who_wait_and_both_see_the_end() {
    check(|| {
        let inbox = Arc::new(Inbox::default());
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || {
                    block_on(async {
                        let mut got = Vec::new();
                        while let Some(receipt) = inbox.next_receipt().await {
                            got.push(receipt.id);
                        }
                        got
                    })
                })
            })
            .collect();
        let ids = [0, 1, 2].map(ReceiptId::of_handle);
        for id in ids {
            inbox.give_receipt(Receipt { id, channel: 0, fate: MessageFate::Lost });
        }
        inbox.end();
        let mut got: Vec<_> = waiting.into_iter().flat_map(|waiting| waiting.join().unwrap()).collect();
        got.sort_by_key(|id| ids.iter().position(|other| other == id));
        assert_eq!(got, ids);
    });
}

#[test]
fn model_who_waits_for_the_end_is_told_whenever_it_began_to() {
    check(|| {
        let inbox = Arc::new(Inbox::default());
        let pump = Arc::clone(&inbox);
        let pump = thread::spawn(move || pump.end());
        block_on(inbox.ended());
        assert!(lock(&inbox.state).ended);
        pump.join().unwrap();
    });
}
