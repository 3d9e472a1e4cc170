//! Messages on all channels in both directions, each judged when it arrives.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fastwire::reliability::DeliveryMode;
use fastwire::sim::Ledger;
use fastwire::{Event, SendError, SendOptions};

use super::Duo;

/// What is sent on each channel in each direction.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The lengths of the messages, by channel.
    pub(crate) lengths: [Vec<u32>; 4],
    /// How many are offered at once on a channel.
    pub(crate) burst: usize,
    /// Time between two bursts.
    pub(crate) pause: Duration,
    /// By when everything reliable must have arrived, counted from the start.
    pub(crate) within: Duration,
    /// How long to go on after that, to see what should not arrive.
    pub(crate) afterwards: Duration,
    /// A moment, since the start of the world: how soon after it each side hears something is noted.
    pub(crate) mark: Option<Duration>,
}

/// One direction of one channel.
struct Lane {
    up: bool,
    channel: u8,
    ledger: Ledger,
    waiting: VecDeque<u32>,
    /// The message that found no room: making a long one anew at each try takes longer than sending it.
    refused: Option<Bytes>,
}

/// Traffic under way.
pub(crate) struct Traffic {
    lanes: Vec<Lane>,
    burst: usize,
    pause: Duration,
    mark: Option<Duration>,
    /// When each side heard something after the mark: client, server.
    heard: [Option<Duration>; 2],
}

/// Every so many messages of a channel one asks what becomes of it,
const ASK_EVERY: usize = 3;
/// and every so many of those that ask need not leave later than this. Messages so short that they look like others are left out.
const EXPIRE_EVERY: usize = 2;
const EXPIRES_AFTER: Duration = Duration::from_millis(30);
const TELLING: usize = 8;

/// When the fate of what left last is known, be it lost: a time-out, and what an acknowledgement may take.
const SETTLED: Duration = Duration::from_secs(10);

/// How often a run that is followed from close tells where it is.
const TELL: Duration = Duration::from_secs(1);

impl Traffic {
    /// Traffic as planned, the same in both directions but for the content.
    pub(crate) fn new(plan: &Plan) -> Self {
        let lanes = [true, false].into_iter().flat_map(|up| {
            DeliveryMode::ALL.into_iter().zip(&plan.lengths).enumerate().map(
                move |(channel, (mode, lengths))| Lane {
                    up,
                    channel: channel as u8,
                    ledger: Ledger::new(mode, u64::from(up) << 32 | channel as u64),
                    waiting: lengths.iter().copied().collect(),
                    refused: None,
                },
            )
        });
        Self {
            lanes: lanes.collect(),
            burst: plan.burst,
            pause: plan.pause,
            mark: plan.mark,
            heard: [None; 2],
        }
    }

    /// Carries out a plan over a connection that must hold.
    pub(crate) fn run(plan: &Plan, duo: &mut Duo) -> Result<Self, String> {
        Self::run_with(plan, duo, |_| Ok(()))
    }

    /// As `run`; `meanwhile` may change the world before each burst.
    pub(crate) fn run_with(
        plan: &Plan,
        duo: &mut Duo,
        mut meanwhile: impl FnMut(&mut Duo) -> Result<(), String>,
    ) -> Result<Self, String> {
        let mut traffic = Self::new(plan);
        let began = duo.world.now();
        let deadline = began + plan.within;
        let mut tell = began;
        while !traffic.is_complete() {
            if duo.world.now() >= deadline {
                return Err(format!("not complete within {:?}: {}", plan.within, traffic.missing()));
            }
            if duo.verbose && duo.world.now() >= tell {
                tell = duo.world.now() + TELL;
                traffic.tell(duo)?;
            }
            meanwhile(duo)?;
            traffic.offer(duo)?;
            let until =
                (duo.world.now() + if traffic.is_offered() { TELL } else { traffic.pause }).min(deadline);
            while let Some((node, event)) = duo.next_event(until) {
                traffic.judge(duo, node == duo.server, event)?;
                if traffic.is_offered() && traffic.is_complete() {
                    break;
                }
            }
        }
        let until = duo.world.now() + plan.afterwards;
        while let Some((node, event)) = duo.next_event(until) {
            traffic.judge(duo, node == duo.server, event)?;
        }
        let settled = duo.world.now() + SETTLED;
        while traffic.lanes.iter().any(|lane| lane.ledger.receipts_due() > 0) {
            let Some((node, event)) = duo.next_event(settled) else { break };
            traffic.judge(duo, node == duo.server, event)?;
        }
        traffic.check_receipts()?;
        traffic.tell(duo)?;
        Ok(traffic)
    }

    /// Whoever asked was told, once, and the truth.
    fn check_receipts(&self) -> Result<(), String> {
        for lane in &self.lanes {
            lane.ledger.check_receipts().map_err(|law| law.to_string())?;
            let due = lane.ledger.receipts_due();
            if due > 0 {
                return Err(format!("channel {}: {due} messages without a receipt", lane.channel));
            }
        }
        Ok(())
    }

    /// Messages sent, and messages delivered.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let sum = |of: fn(&Ledger) -> usize| self.lanes.iter().map(|lane| of(&lane.ledger) as u64).sum();
        (sum(Ledger::sent), sum(Ledger::delivered))
    }

    /// How long after the mark both sides had heard something.
    pub(crate) fn back(&self) -> Option<Duration> {
        let [client, server] = self.heard;
        client.max(server).filter(|_| client.is_some() && server.is_some())?.checked_sub(self.mark?)
    }

    /// Offers what is due of each lane; what finds the queue full waits for the next time.
    fn offer(&mut self, duo: &mut Duo) -> Result<(), String> {
        for lane in &mut self.lanes {
            let (node, id) = if lane.up { (duo.client, duo.at_client) } else { (duo.server, duo.at_server) };
            for _ in 0..self.burst {
                let Some(&len) = lane.waiting.front() else { break };
                // some ask what becomes of them; the base profile does not follow unreliable ones
                let follows = duo.extended || lane.channel < 2;
                let asks = follows && lane.ledger.sent() % ASK_EVERY == 0;
                let mut options = if asks { SendOptions::new().receipt() } else { SendOptions::new() };
                if asks && len as usize >= TELLING && lane.ledger.sent() / ASK_EVERY % EXPIRE_EVERY == 1 {
                    options = options.expires_after(EXPIRES_AFTER);
                }
                let message = lane.refused.take().unwrap_or_else(|| lane.ledger.message(len as usize).into());
                match duo.world.send_with(node, id, message.clone(), lane.channel, options) {
                    Ok(receipt) => {
                        lane.ledger.on_sent(len as usize);
                        receipt.into_iter().for_each(|id| lane.ledger.on_asked(id));
                    }
                    // Large messages have to wait until the peer is known to be one of ours.
                    Err(SendError::QueueFull(_) | SendError::MessageTooLarge { .. }) => {
                        lane.refused = Some(message);
                        break;
                    }
                    Err(error) => return Err(format!("channel {}: {error}", lane.channel)),
                }
                lane.waiting.pop_front();
            }
        }
        duo.world.poke(duo.client);
        duo.world.poke(duo.server);
        Ok(())
    }

    /// Takes an event: a message must keep the law of its lane, anything else should not happen.
    fn judge(&mut self, duo: &Duo, up: bool, event: Event) -> Result<(), String> {
        let side = if up { "server" } else { "client" };
        if let Event::Receipt { receipt, .. } = event {
            // it comes to the sender: the client's of what goes up
            let lane = self.lanes.iter_mut().find(|lane| lane.up != up && lane.channel == receipt.channel);
            let lane = lane.ok_or_else(|| format!("{side}: {receipt:?}"))?;
            return lane.ledger.on_receipt(&receipt).map_err(|law| format!("{side}: {law}"));
        }
        let Event::Message { connection, channel, data } = event else {
            return Err(format!("{side} after {:.3} s: {event:?}", duo.world.elapsed().as_secs_f64()));
        };
        let (now, heard) = (duo.world.elapsed(), &mut self.heard[usize::from(up)]);
        if heard.is_none() && self.mark.is_some_and(|mark| now > mark) {
            *heard = Some(now);
        }
        if connection != if up { duo.at_server } else { duo.at_client } {
            return Err(format!("{side}: a message on another connection"));
        }
        let lane = self.lanes.iter_mut().find(|lane| lane.up == up && lane.channel == channel);
        let lane = lane.ok_or_else(|| format!("{side}: a message on channel {channel}"))?;
        lane.ledger.on_delivered(&data).map_err(|law| format!("{side}: {law}"))
    }

    fn is_offered(&self) -> bool {
        self.lanes.iter().all(|lane| lane.waiting.is_empty())
    }

    fn is_complete(&self) -> bool {
        let is_settled =
            |lane: &Lane| lane.ledger.is_complete() && (lane.channel > 1 || lane.ledger.receipts_due() == 0);
        self.is_offered() && self.lanes.iter().all(is_settled)
    }

    fn missing(&self) -> String {
        let incomplete =
            self.lanes.iter().filter(|lane| !lane.waiting.is_empty() || !lane.ledger.is_complete());
        let lines = incomplete.map(|lane| {
            let Lane { up, channel, ledger, waiting, .. } = lane;
            let way = if *up { "up" } else { "down" };
            format!(
                "channel {channel} {way} {} of {} (+{})",
                ledger.delivered(),
                ledger.sent(),
                waiting.len()
            )
        });
        lines.collect::<Vec<_>>().join(", ")
    }

    fn tell(&self, duo: &mut Duo) -> Result<(), String> {
        if !duo.verbose {
            return Ok(());
        }
        let [down, up] = duo.stats()?;
        for (name, end) in [("server", down), ("client", up)] {
            duo.say(format_args!(
                "{name}: rtt {:?} rto {:?} cwnd {:?} in flight {} queued {} loss {:.2} repeats {} in vain {} sent {} received {} replayed {} forged {} malformed {} over budget {}",
                end.rtt,
                end.rto,
                end.congestion_window,
                end.packets_in_flight,
                end.send_queue_bytes,
                end.packet_loss,
                end.retransmits,
                end.spurious_retransmits,
                end.packets_sent,
                end.packets_received,
                end.replayed,
                end.forged,
                end.malformed,
                end.over_budget,
            ));
        }
        duo.say(format_args!("to come: {}", self.missing()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fastwire::reliability::MessageFate;
    use fastwire::sim::{LinkConfig, Loss};

    use super::*;
    use crate::check::Profile;
    use crate::scenario::Makings;

    fn plan() -> Plan {
        Plan {
            lengths: [(); 4].map(|()| vec![50; 40]),
            burst: 2,
            pause: Duration::from_millis(5),
            within: Duration::from_secs(60),
            afterwards: Duration::from_secs(2),
            mark: None,
        }
    }

    /// A run whose receipts `forge` may change on their way to the judge; each becomes so many.
    fn judged(forge: impl Fn(&mut Event) -> usize) -> Result<(), String> {
        let loss = Loss::Bernoulli { rate: 0.1 };
        let line = LinkConfig::new().latency(Duration::from_millis(10)).loss(loss);
        let mut duo = Duo::connect(5, &Makings::new(Profile::Extended, line), false)?;
        let mut traffic = Traffic::new(&plan());
        let until = duo.world.now() + Duration::from_secs(30);
        while duo.world.now() < until {
            traffic.offer(&mut duo)?;
            let pause = duo.world.now() + Duration::from_millis(50);
            while let Some((node, mut event)) = duo.next_event(pause) {
                for _ in 0..forge(&mut event) {
                    traffic.judge(&duo, node == duo.server, event.clone())?;
                }
            }
        }
        traffic.check_receipts()?;
        assert!(traffic.is_complete());
        Ok(())
    }

    #[test]
    fn the_judge_takes_what_is_true_and_sees_what_is_missing_twice_or_false() {
        assert_eq!(judged(|_| 1), Ok(()));
        let twice = judged(|event| if matches!(event, Event::Receipt { .. }) { 2 } else { 1 });
        assert!(twice.is_err_and(|law| law.contains("after")));
        let missing = judged(|event| match event {
            Event::Receipt { receipt, .. } => usize::from(receipt.channel != 2),
            _ => 1,
        });
        assert!(missing.is_err_and(|law| law.contains("without a receipt")));
        for fate in [MessageFate::Expired, MessageFate::Superseded] {
            let forged = judged(|event| {
                if let Event::Receipt { receipt, .. } = event
                    && matches!(receipt.fate, MessageFate::Acknowledged { .. })
                    && receipt.channel == 1
                {
                    receipt.fate = fate;
                }
                1
            });
            assert!(forged.is_err_and(|law| law.contains("arrived: true")), "{fate:?}");
        }
        let swallowed = judged(|event| {
            let lost = matches!(event, Event::Receipt { receipt, .. } if receipt.fate == MessageFate::Lost);
            if let (true, Event::Receipt { receipt, .. }) = (lost, &mut *event) {
                receipt.fate = MessageFate::Acknowledged { rtt: Duration::ZERO };
            }
            1
        });
        assert!(swallowed.is_err_and(|law| law.contains("arrived: false")));
    }
}
