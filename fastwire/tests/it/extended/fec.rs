//! Parity in advance: what is lost comes back of it, each message still arrives once, and a line that loses nothing pays nothing.

use std::time::Duration;

use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, LinkConfig, Loss, Reorder};
use fastwire::{ConnectionStats, Event, Fec, Profile};

use super::{MS, Pair};
use crate::duo::configs;

const EVERY: Duration = Duration::from_micros(16_667);

fn pair(seed: u64, line: LinkConfig, fec: [Option<Fec>; 2], room: usize) -> Pair {
    let (mut server, mut client) = configs(Profile::Extended);
    [client.fec, server.fec] = fec;
    server.limits.fec_bytes = room;
    Pair::with(seed, line, server, client)
}

fn stats(pair: &mut Pair) -> [ConnectionStats; 2] {
    [(pair.client, pair.at_client), (pair.server, pair.at_server)]
        .map(|(node, id)| pair.world.endpoint(node).and_then(|it| it.connection_stats(id)).expect("alive"))
}

/// Small messages on all four channels both ways, and now and then a large one, until all have arrived that must.
fn play(pair: &mut Pair, seed: u64, flushes: u32, every: Duration) {
    let ledger = |mode, side: u64| Ledger::new(mode, seed << 8 | side);
    let mut ledgers = [0, 1].map(|side| DeliveryMode::ALL.map(|mode| ledger(mode, side)));
    let take = |pair: &mut Pair, ledgers: &mut [[Ledger; 4]; 2], until| {
        while let Some((node, event)) = pair.world.next_event(until) {
            let Event::Message { channel, data, .. } = event else { panic!("seed {seed}: {event:?}") };
            let from = usize::from(node != pair.server);
            let law = ledgers[from][usize::from(channel)].on_delivered(&data);
            law.unwrap_or_else(|law| panic!("seed {seed}: {law}"));
        }
    };
    let start = pair.world.now();
    for flush in 0..flushes {
        for (side, (node, id)) in
            [(pair.client, pair.at_client), (pair.server, pair.at_server)].into_iter().enumerate()
        {
            for (channel, ledger) in ledgers[side].iter_mut().enumerate() {
                let len = if flush % 50 == 49 && channel < 2 { 9000 } else { 20 + 60 * channel };
                let message = ledger.message(len);
                pair.world.send(node, id, message, channel as u8).expect("queued");
                ledger.on_sent(len);
            }
            pair.world.poke(node);
        }
        take(pair, &mut ledgers, start + every * (flush + 1));
    }
    let deadline = pair.world.now() + Duration::from_secs(20);
    while pair.world.now() < deadline && !ledgers.iter().flatten().all(Ledger::is_complete) {
        let until = pair.world.now() + MS(50);
        take(pair, &mut ledgers, until);
    }
    for ledger in ledgers.iter().flatten() {
        assert!(ledger.is_complete(), "seed {seed}: {ledger:?}");
    }
}

#[test]
fn every_message_arrives_once_over_every_kind_of_fault() {
    let (mut sent, mut recovered) = (0, 0);
    for seed in 0..24u64 {
        let reorder = Reorder::Depth { depth: 1 + seed as u32 % 9, at_most: MS(40) };
        let line = LinkConfig::new()
            .latency(MS(5 + seed % 4 * 20))
            .loss(if seed % 2 == 0 {
                Loss::Bernoulli { rate: 0.1 }
            } else {
                Loss::Bursts { rate: 0.1, length: 3 }
            })
            .duplicate([0.0, 0.2][seed as usize / 2 % 2])
            .corrupt([0.0, 0.05][seed as usize / 4 % 2])
            .reorder([0.0, 0.2][seed as usize / 8 % 2], reorder);
        let fec = Fec::percent(20 + 40 * (seed as u16 % 6)).over(1 + seed as u8 % 5);
        let mut pair = pair(seed, line, [Some(fec), (seed % 3 > 0).then_some(fec)], 96 << 10);
        play(&mut pair, seed, 250, EVERY);
        for side in stats(&mut pair) {
            assert_eq!(side.fec_dropped, 0, "seed {seed}: nobody sends nonsense");
            assert!(side.fec_useless + side.fec_recovered <= 2 * 250 * 8);
            sent += side.fec_sent;
            recovered += side.fec_recovered;
        }
    }
    assert!(recovered > 500 && sent > recovered, "{recovered} recovered of {sent} sent");
}

#[test]
fn a_line_without_loss_pays_nothing_and_so_does_a_peer_without_room() {
    let fec = Some(Fec::percent(100).over(2));
    let mut quiet = pair(1, LinkConfig::new().latency(MS(25)), [fec, fec], 96 << 10);
    play(&mut quiet, 1, 300, EVERY);
    assert!(stats(&mut quiet).iter().all(|side| side.fec_sent == 0));
    let line = LinkConfig::new().latency(MS(25)).loss(Loss::Bernoulli { rate: 0.1 });
    let mut roomless = pair(2, line, [fec, fec], 0);
    play(&mut roomless, 2, 300, EVERY);
    let [client, server] = stats(&mut roomless);
    assert_eq!((client.fec_sent, server.fec_recovered), (0, 0), "the server takes none");
    assert!(server.fec_sent > 0 && client.fec_recovered > 0, "the client does");
}

#[test]
fn parity_saves_repeats() {
    let line = LinkConfig::new().latency(MS(25)).loss(Loss::Bernoulli { rate: 0.05 });
    let repeats = |fec| {
        let mut pair = pair(3, line.clone(), [fec, None], 96 << 10);
        let start = pair.world.now();
        for number in 1..1200u32 {
            pair.world.send(pair.client, pair.at_client, vec![7; 200], 0).expect("queued");
            pair.world.poke(pair.client);
            let left = (start + EVERY * number).saturating_duration_since(pair.world.now());
            pair.run(left);
        }
        let [client, server] = stats(&mut pair);
        (client.retransmits, client.fec_sent, server.fec_recovered)
    };
    let (without, ..) = repeats(None);
    let (with, sent, recovered) = repeats(Some(Fec::percent(100).over(2)));
    assert!(with * 4 < without, "{with} repeats with parity, {without} without");
    assert!(sent <= 1300 && recovered > 30, "{sent} sent, {recovered} recovered");
}
