//! Another implementation's core, the registry's `kcp`, driven as tokio_kcp drives it, over a bad line in virtual time: hours of a
//! transfer in seconds, the same for the same seed.

use fastwire_kcp::core::{Config, Kcp, NoDelay, Origin};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

/// A clock somewhere in its 32 bits.
const START: u32 = 0x0fb5_0000;
const CONV: u32 = 7;
/// What tokio_kcp's writers write at once.
const WRITE: usize = 64 << 10;

/// What one end sends, until it is taken.
#[derive(Clone, Default)]
struct Sent(Rc<RefCell<Vec<Vec<u8>>>>);

impl io::Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How both ends are set.
#[derive(Clone, Copy, Debug)]
struct Settings {
    stream: bool,
    nodelay: NoDelay,
    loss: f64,
}

/// Their end: an application that writes what there is room for and reads what there is.
struct Theirs {
    kcp: kcp::Kcp<Sent>,
    sent: Sent,
    /// When its updater wakes.
    wakes: u32,
    written: usize,
    read: usize,
    buffer: Vec<u8>,
}

impl Theirs {
    fn new(settings: Settings, now: u32) -> Self {
        let sent = Sent::default();
        let mut kcp = if settings.stream {
            kcp::Kcp::new_stream(CONV, sent.clone())
        } else {
            kcp::Kcp::new(CONV, sent.clone())
        };
        let NoDelay { level, interval, resend, congestion } = settings.nodelay;
        kcp.set_nodelay(level > 0, interval as i32, resend as i32, !congestion);
        kcp.set_wndsize(256, 256);
        kcp.update(now).unwrap();
        Self { kcp, sent, wakes: now, written: 0, read: 0, buffer: vec![0; WRITE] }
    }

    fn is_full(&self) -> bool {
        let waiting = self.kcp.wait_snd();
        waiting >= self.kcp.snd_wnd().into() || waiting >= self.kcp.rmt_wnd().into()
    }

    fn act(&mut self, now: u32, content: &[u8]) {
        while self.written < content.len() && !self.is_full() {
            let end = content.len().min(self.written + WRITE);
            self.kcp.send(&content[self.written..end]).unwrap();
            self.kcp.flush().unwrap();
            self.written = end;
            self.wakes = now;
        }
        if now.wrapping_sub(self.wakes) as i32 >= 0 {
            if self.is_full() {
                self.kcp.flush().unwrap();
            }
            self.kcp.update(now).unwrap();
            self.wakes = now.wrapping_add(self.kcp.check(now).max(1));
        }
        let buffer = &mut self.buffer;
        while let Ok(len) = self.kcp.recv(buffer) {
            assert!(buffer[..len] == content[self.read..self.read + len]);
            self.read += len;
        }
    }

    fn input(&mut self, datagram: &[u8]) {
        self.kcp.input(datagram).unwrap();
        self.kcp.flush_ack().unwrap();
    }
}

/// Ours, as its driver drives it.
struct Ours {
    kcp: Kcp,
    out: Vec<Vec<u8>>,
    written: usize,
    read: usize,
    buffer: Vec<u8>,
}

impl Ours {
    fn new(settings: Settings) -> Self {
        let Settings { stream, nodelay, .. } = settings;
        let config = Config { stream, nodelay, snd_wnd: 256, rcv_wnd: 256, ..Config::default() };
        Self { kcp: Kcp::new(CONV, config), out: Vec::new(), written: 0, read: 0, buffer: vec![0; WRITE] }
    }

    fn act(&mut self, now: u32, content: &[u8]) {
        while self.written < content.len() && self.kcp.waiting() < 512 {
            let end = content.len().min(self.written + self.kcp.mss());
            self.kcp.send(&content[self.written..end]).unwrap();
            self.written = end;
        }
        self.kcp.update(now, &mut self.out);
        let buffer = &mut self.buffer;
        loop {
            let len = self.kcp.read(buffer);
            if len == 0 {
                break;
            }
            assert!(buffer[..len] == content[self.read..self.read + len]);
            self.read += len;
        }
        if self.kcp.wants_flush() {
            self.kcp.update(now, &mut self.out);
        }
    }
}

/// A line of 1 ms that loses, and delays a tenth by up to 5 ms.
struct Line {
    loss: f64,
    state: u64,
    under_way: BTreeMap<(u32, u64), Vec<u8>>,
    count: u64,
}

impl Line {
    fn dice(&mut self) -> f64 {
        // splitmix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn send(&mut self, now: u32, datagram: Vec<u8>) {
        if self.dice() < self.loss {
            return;
        }
        let late = if self.dice() < 0.1 { (self.dice() * 5.0) as u32 } else { 0 };
        self.count += 1;
        self.under_way.insert((now.wrapping_sub(START) + 1 + late, self.count), datagram);
    }

    fn arrived(&mut self, now: u32) -> Option<Vec<u8>> {
        let entry = self.under_way.first_entry()?;
        (entry.key().0 <= now.wrapping_sub(START)).then(|| entry.remove())
    }
}

/// The same bytes both ways; for how long at most, in ms, nothing moved.
fn transfer(settings: Settings, seed: u64, content: &[u8], give_up: u32) -> u32 {
    let line = |seed| Line { loss: settings.loss, state: seed, under_way: BTreeMap::new(), count: 0 };
    let (mut there, mut back) = (line(2 * seed), line(2 * seed + 1));
    let (mut theirs, mut ours) = (Theirs::new(settings, START), Ours::new(settings));
    let mut now = START;
    let (mut before, mut moved, mut longest) = ((0, 0), now, 0);
    while theirs.read < content.len() || ours.read < content.len() {
        theirs.act(now, content);
        ours.act(now, content);
        theirs.sent.0.borrow_mut().drain(..).for_each(|datagram| there.send(now, datagram));
        ours.out.drain(..).for_each(|datagram| back.send(now, datagram));
        now = now.wrapping_add(1);
        while let Some(datagram) = there.arrived(now) {
            ours.kcp.input(now, &datagram, Origin::Direct).unwrap();
        }
        while let Some(datagram) = back.arrived(now) {
            theirs.input(&datagram);
        }
        if (theirs.read, ours.read) != before {
            (before, moved) = ((theirs.read, ours.read), now);
        }
        longest = longest.max(now.wrapping_sub(moved));
        assert!(
            longest <= give_up,
            "{settings:?}, seed {seed}: after {} s read {before:?}\ntheirs {:#?}\nours {:#?}",
            now.wrapping_sub(START) / 1000,
            theirs.kcp,
            ours.kcp,
        );
    }
    longest
}

/// Every way to talk, again and again: all arrives, and nobody is silent for longer than timeouts that grow with each loss explain.
#[test]
fn transfers_never_stall() {
    let content: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let default = NoDelay { level: 0, interval: 40, resend: 0, congestion: true };
    for stream in [false, true] {
        for (nodelay, loss, give_up) in [
            (NoDelay::FAST3, 0.0, 100),
            (NoDelay::FAST3, 0.05, 1000),
            (NoDelay::FAST3, 0.2, 5000),
            (default, 0.0, 500),
            (default, 0.05, 10_000),
            // Doubled ten times, it is minutes.
            (default, 0.2, 300_000),
        ] {
            let settings = Settings { stream, nodelay, loss };
            let longest = (0..40).map(|seed| transfer(settings, seed, &content, give_up)).max();
            println!("{settings:?}: nothing moved for {longest:?} ms at most");
        }
    }
}
