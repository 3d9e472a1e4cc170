//! What a delivery mode promises, checked message by message.
//!
//! A [`Ledger`] makes the messages of one direction of one channel and judges what arrives: content follows
//! from the message's number, so nothing has to be kept but lengths and marks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use fastwire_reliability::DeliveryMode;

use super::Rng;
use crate::{MessageFate, Receipt, ReceiptId};

/// From this length on a message carries its number in its first eight bytes.
const NUMBERED: usize = 8;

/// A promise that was broken, or a message that was not among those sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenLaw(pub String);

impl fmt::Display for BrokenLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BrokenLaw {}

/// The messages of one direction of one channel: what was sent, and whether what arrived keeps the mode's law.
#[derive(Debug)]
pub struct Ledger {
    mode: DeliveryMode,
    salt: u64,
    /// Length of each message sent; its index is the message's number.
    lengths: Vec<u32>,
    /// Whether each numbered message arrived.
    arrived: Vec<bool>,
    /// Messages too short for a number: how many of each content are still to come.
    short: HashMap<Vec<u8>, i64>,
    delivered: usize,
    /// Ordered: the number expected next. Sequenced: one above the newest delivered.
    next: usize,
    /// Messages whose sender asked what becomes of them, and what it was told.
    asked: BTreeMap<ReceiptId, (usize, Option<MessageFate>)>,
    /// Messages that never left: they leave a gap that is none.
    expired: BTreeSet<usize>,
    /// Messages without the receipt that was asked for, and those of them that newer ones overtook on an ordered channel: they
    /// must have expired.
    pending: BTreeSet<usize>,
    skipped: BTreeSet<usize>,
}

impl Ledger {
    /// A ledger for a channel of `mode`. Different salts give different contents.
    #[must_use]
    pub fn new(mode: DeliveryMode, salt: u64) -> Self {
        Self {
            mode,
            salt,
            lengths: Vec::new(),
            arrived: Vec::new(),
            short: HashMap::new(),
            delivered: 0,
            next: 0,
            asked: BTreeMap::new(),
            expired: BTreeSet::new(),
            pending: BTreeSet::new(),
            skipped: BTreeSet::new(),
        }
    }

    /// The next message, of `len` bytes; call [`on_sent`](Self::on_sent) when it was accepted for sending.
    #[must_use]
    pub fn message(&self, len: usize) -> Vec<u8> {
        content(self.salt, self.lengths.len(), len)
    }

    /// The message that [`message`](Self::message) gave for `len` was accepted.
    pub fn on_sent(&mut self, len: usize) {
        if len < NUMBERED {
            *self.short.entry(content(self.salt, self.lengths.len(), len)).or_default() += 1;
        }
        self.lengths.push(len as u32);
        self.arrived.push(false);
    }

    /// A receipt was asked for the message accepted last.
    pub fn on_asked(&mut self, id: ReceiptId) {
        let number = self.lengths.len().saturating_sub(1);
        self.asked.insert(id, (number, None));
        self.pending.insert(number);
    }

    /// Judges a receipt: it was asked for, and is the first. Whether it is true shows at the end:
    /// [`check_receipts`](Self::check_receipts).
    ///
    /// # Errors
    /// The law it breaks.
    pub fn on_receipt(&mut self, receipt: &Receipt) -> Result<(), BrokenLaw> {
        match self.asked.get_mut(&receipt.id) {
            None => Err(self.broken(format!("{receipt:?} was not asked for"))),
            Some((_, Some(before))) => {
                let before = *before;
                Err(self.broken(format!("{receipt:?} after {before:?}")))
            }
            Some((number, fate)) => {
                *fate = Some(receipt.fate);
                let number = *number;
                self.pending.remove(&number);
                if receipt.fate == MessageFate::Expired {
                    self.expired.insert(number);
                } else if self.skipped.contains(&number) {
                    return Err(self.broken(format!("{receipt:?}, and newer ones came before it")));
                }
                Ok(())
            }
        }
    }

    /// Receipts that have not come.
    #[must_use]
    pub fn receipts_due(&self) -> usize {
        self.asked.values().filter(|(_, fate)| fate.is_none()).count()
    }

    /// Judges all receipts once nothing more will arrive: what is acknowledged has arrived (on a sequenced channel it or a newer
    /// one), what expired or was superseded has not. Messages too short for a number are left out.
    ///
    /// # Errors
    /// The law that is broken.
    pub fn check_receipts(&self) -> Result<(), BrokenLaw> {
        // behind a message that never came an ordered channel holds what it has
        let mut held = false;
        let last_short = self.lengths.iter().rposition(|len| (*len as usize) < NUMBERED);
        for &(number, fate) in self.asked.values() {
            held |= self.mode == DeliveryMode::ReliableOrdered && fate == Some(MessageFate::Lost);
            let numbered = self.lengths.get(number).is_some_and(|len| *len as usize >= NUMBERED);
            let arrived = match self.mode {
                DeliveryMode::ReliableOrdered => self.arrived.get(number).copied().unwrap_or_default(),
                _ if !numbered => continue,
                _ => self.arrived.get(number).copied().unwrap_or_default(),
            };
            // messages without a number may have overtaken it unseen
            let newest = self.next.max(last_short.map_or(0, |short| short + 1));
            let overtaken = self.mode == DeliveryMode::UnreliableSequenced && number < newest;
            let holds = match fate {
                Some(MessageFate::Acknowledged { .. }) => arrived || overtaken || held,
                Some(MessageFate::Expired | MessageFate::Superseded) => !arrived,
                _ => true,
            };
            if !holds {
                return Err(self.broken(format!("message {number}: {fate:?}, and arrived: {arrived}")));
            }
        }
        Ok(())
    }

    /// Judges a message that arrived.
    ///
    /// # Errors
    /// The law it breaks.
    pub fn on_delivered(&mut self, data: &[u8]) -> Result<(), BrokenLaw> {
        self.delivered += 1;
        if self.mode == DeliveryMode::ReliableOrdered {
            return self.check_ordered(data);
        }
        let Some(number) = numbered(data) else { return self.check_short(data) };
        let len = self.lengths.get(number).copied();
        if len != Some(data.len() as u32) || content(self.salt, number, data.len()) != data {
            return Err(self.broken(format!("message {number} of {} bytes was never sent so", data.len())));
        }
        if std::mem::replace(&mut self.arrived[number], true) {
            return Err(self.broken(format!("message {number} arrived twice")));
        }
        if self.mode == DeliveryMode::UnreliableSequenced {
            if number < self.next {
                return Err(self.broken(format!("message {number} arrived after {}", self.next - 1)));
            }
            self.next = number + 1;
        }
        Ok(())
    }

    fn check_ordered(&mut self, data: &[u8]) -> Result<(), BrokenLaw> {
        loop {
            let number = self.next;
            let is_it = self.lengths.get(number).is_some_and(|&len| {
                len as usize == data.len() && content(self.salt, number, data.len()) == data
            });
            if is_it || !(self.expired.contains(&number) || self.pending.contains(&number)) {
                break;
            }
            self.skipped.insert(number);
            self.next += 1;
        }
        let number = self.next;
        let expected = self.lengths.get(number).map(|len| content(self.salt, number, *len as usize));
        if expected.as_deref() != Some(data) {
            let what =
                expected.map_or("nothing".to_owned(), |e| format!("message {number} of {} bytes", e.len()));
            return Err(self.broken(format!("expected {what}, got {} bytes", data.len())));
        }
        self.next += 1;
        if let Some(arrived) = self.arrived.get_mut(number) {
            *arrived = true;
        }
        Ok(())
    }

    fn check_short(&mut self, data: &[u8]) -> Result<(), BrokenLaw> {
        match self.short.get_mut(data) {
            Some(left) if *left > 0 => {
                *left -= 1;
                Ok(())
            }
            _ => {
                Err(self
                    .broken(format!("a message of {} bytes was never sent, or arrived twice", data.len())))
            }
        }
    }

    /// Whether everything that was promised has arrived.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.mode.is_reliable() || self.delivered + self.expired.len() == self.lengths.len()
    }

    /// Messages sent.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.lengths.len()
    }

    /// Messages that arrived.
    #[must_use]
    pub fn delivered(&self) -> usize {
        self.delivered
    }

    fn broken(&self, what: String) -> BrokenLaw {
        BrokenLaw(format!("{:?}: {what} ({} sent, {} delivered)", self.mode, self.sent(), self.delivered))
    }
}

fn numbered(data: &[u8]) -> Option<usize> {
    let bytes: [u8; NUMBERED] = data.get(..NUMBERED)?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes) as usize)
}

/// The bytes of message `number`: its number, then noise or text in turn, so that compression has both.
fn content(salt: u64, number: usize, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(salt ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut data = Vec::with_capacity(len + 8);
    if len >= NUMBERED {
        data.extend_from_slice(&(number as u64).to_le_bytes());
    }
    let text = number % 2 == 1;
    while data.len() < len {
        let word = if text { 0x2065_7279_6c66_7920 ^ (rng.next_u64() & 3) } else { rng.next_u64() };
        data.extend_from_slice(&word.to_le_bytes());
    }
    data.truncate(len);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(mode: DeliveryMode, lengths: &[usize]) -> (Ledger, Vec<Vec<u8>>) {
        let mut ledger = Ledger::new(mode, 7);
        let messages = lengths
            .iter()
            .map(|len| {
                let message = ledger.message(*len);
                ledger.on_sent(*len);
                message
            })
            .collect();
        (ledger, messages)
    }

    #[test]
    fn order_loss_duplicates_and_changes_are_seen() {
        for mode in [
            DeliveryMode::ReliableOrdered,
            DeliveryMode::ReliableUnordered,
            DeliveryMode::UnreliableSequenced,
        ] {
            let (mut good, messages) = ledger(mode, &[20, 30, 40]);
            assert!(messages.iter().all(|message| good.on_delivered(message).is_ok()), "{mode:?}");
            assert!(good.is_complete());

            let (mut changed, mut messages) = ledger(mode, &[20]);
            messages[0][19] ^= 1;
            assert!(changed.on_delivered(&messages[0]).is_err(), "{mode:?}");

            let (mut twice, messages) = ledger(mode, &[20, 30]);
            assert!(twice.on_delivered(&messages[0]).is_ok());
            assert!(twice.on_delivered(&messages[0]).is_err(), "{mode:?}");
        }
        let (mut ordered, messages) = ledger(DeliveryMode::ReliableOrdered, &[20, 30]);
        assert!(ordered.on_delivered(&messages[1]).is_err());
        let (mut sequenced, messages) = ledger(DeliveryMode::UnreliableSequenced, &[20, 30]);
        assert!(sequenced.on_delivered(&messages[1]).is_ok());
        assert!(sequenced.on_delivered(&messages[0]).is_err());
        let (mut unordered, messages) = ledger(DeliveryMode::ReliableUnordered, &[20, 3, 0]);
        assert!(unordered.on_delivered(&messages[2]).is_ok());
        assert!(unordered.on_delivered(&messages[0]).is_ok());
        assert!(!unordered.is_complete());
        assert!(unordered.on_delivered(&messages[2]).is_err());
    }

    #[test]
    fn receipts_that_are_false_twice_or_unasked_are_seen() {
        let acknowledged = MessageFate::Acknowledged { rtt: std::time::Duration::ZERO };
        let receipt = |id: u64, fate| Receipt { id: ReceiptId(id), channel: 0, fate };
        let (mut ledger, messages) = ledger(DeliveryMode::ReliableUnordered, &[20, 30]);
        ledger.on_asked(ReceiptId(7));
        assert!(ledger.on_receipt(&receipt(8, acknowledged)).is_err());
        assert_eq!(ledger.receipts_due(), 1);
        assert!(ledger.on_receipt(&receipt(7, acknowledged)).is_ok());
        assert!(ledger.on_receipt(&receipt(7, MessageFate::Lost)).is_err());
        assert!(ledger.check_receipts().is_err(), "it has not arrived");
        assert!(ledger.on_delivered(&messages[1]).is_ok());
        assert!(ledger.check_receipts().is_ok() && ledger.receipts_due() == 0);
    }
}
