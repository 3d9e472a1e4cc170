//! A pair of controllers told the same, questioned after every event.

use std::time::{Duration, Instant};

use super::Law;
use crate::{
    Acked, AppLimited, Congestion, CongestionController, InFlight, Lost, PathChange, PathInfo, Quota, Sent,
    Spurious, Window,
};

/// A broken law and what was seen.
pub(super) type Broken = (Law, String);
pub(super) type Make<'a> = dyn Fn(&PathInfo) -> Box<dyn CongestionController + 'a> + 'a;

/// Two packets: RFC 9002 §7.2 for bytes, PROTOCOL A11 for packets.
const FLOOR_PACKETS: u32 = 2;
/// A connection that stands still longer than this with nothing in flight has stopped.
const PATIENCE: Duration = Duration::from_secs(1);

/// One event of any kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Sent(Sent),
    AppLimited(AppLimited),
    Acked(Acked),
    Lost(Lost),
    Congestion(Congestion),
    Spurious(Spurious),
    PathChange(PathChange),
    Mtu(u16),
}

pub(super) struct Probe<'m, 'a> {
    make: &'m Make<'a>,
    subject: Box<dyn CongestionController + 'a>,
    /// Told exactly what the subject is told.
    twin: Box<dyn CongestionController + 'a>,
    mtu: u16,
}

impl<'m, 'a> Probe<'m, 'a> {
    pub(super) fn new(make: &'m Make<'a>, path: &PathInfo) -> Result<Self, Broken> {
        let probe = Self { make, subject: make(path), twin: make(path), mtu: path.mtu };
        probe.question(path.now, InFlight::NONE)?;
        Ok(probe)
    }

    pub(super) fn window(&self) -> Window {
        self.subject.window()
    }

    pub(super) fn quota(&self, now: Instant, in_flight: InFlight) -> Quota {
        self.subject.quota(now, in_flight)
    }

    /// Tells both, and checks every law that one event can break.
    pub(super) fn tell(&mut self, event: Event, now: Instant, in_flight: InFlight) -> Result<(), Broken> {
        let before = self.subject.window();
        for controller in [&mut self.subject, &mut self.twin] {
            match &event {
                Event::Sent(sent) => controller.on_sent(sent),
                Event::AppLimited(event) => controller.on_app_limited(event),
                Event::Acked(acked) => controller.on_acked(acked),
                Event::Lost(lost) => controller.on_lost(lost),
                Event::Congestion(congestion) => controller.on_congestion(congestion),
                Event::Spurious(spurious) => controller.on_spurious(spurious),
                Event::PathChange(change) => controller.on_path_change(change),
                Event::Mtu(mtu) => controller.on_mtu(*mtu),
            }
        }
        let after = self.subject.window();
        match event {
            Event::Congestion(_) if exceeds(after, before) => {
                return Err((Law::CongestionNeverRaises, format!("{before:?} became {after:?}")));
            }
            Event::Spurious(_) if exceeds(before, after) => {
                return Err((Law::SpuriousNeverLowers, format!("{before:?} became {after:?}")));
            }
            Event::PathChange(change) => {
                self.mtu = change.path.mtu;
                let fresh = (self.make)(&change.path).window();
                if after != fresh {
                    return Err((Law::PathRestarts, format!("{after:?} instead of a new one's {fresh:?}")));
                }
            }
            Event::Mtu(mtu) => self.mtu = mtu,
            _ => {}
        }
        self.question(now, in_flight)
    }

    fn question(&self, now: Instant, in_flight: InFlight) -> Result<(), Broken> {
        let window = self.subject.window();
        self.check_floor(window)?;
        let exactly = InFlight::new(window.packets.unwrap_or(0), window.bytes.unwrap_or(0));
        let full = InFlight::new(u32::MAX, u64::MAX);
        for in_flight in [in_flight, InFlight::NONE, exactly, full] {
            self.check_quota(window, now, in_flight)?;
        }
        self.check_progress(now)?;
        self.check_twin(now, in_flight)?;
        let threshold = self.subject.recovery_profile().fast_retransmit_threshold;
        if threshold == 0 {
            return Err((Law::Profile, "fast_retransmit_threshold is 0, the least is 1".into()));
        }
        Ok(())
    }

    fn check_floor(&self, window: Window) -> Result<(), Broken> {
        let floor_bytes = u64::from(FLOOR_PACKETS) * u64::from(self.mtu);
        let packets_low = window.packets.is_some_and(|packets| packets < FLOOR_PACKETS);
        let bytes_low = window.bytes.is_some_and(|bytes| bytes < floor_bytes);
        if packets_low || bytes_low {
            let floor = format!("the floor is {FLOOR_PACKETS} packets or {floor_bytes} bytes");
            return Err((Law::Floor, format!("{window:?}, {floor}")));
        }
        Ok(())
    }

    fn check_quota(&self, window: Window, now: Instant, in_flight: InFlight) -> Result<(), Broken> {
        let quota = self.subject.quota(now, in_flight);
        let most = window.minus(in_flight);
        if quota.packets > most.packets || quota.bytes > most.bytes {
            return Err((
                Law::QuotaWithinWindow,
                format!("{quota:?} with {in_flight:?}, but the window leaves {most:?}"),
            ));
        }
        Ok(())
    }

    fn check_progress(&self, now: Instant) -> Result<(), Broken> {
        let packet = u64::from(self.mtu);
        let waits = [Duration::ZERO, Duration::from_millis(10), PATIENCE];
        if !waits.iter().any(|&wait| self.subject.quota(now + wait, InFlight::NONE).allows(packet)) {
            let quota = self.subject.quota(now + PATIENCE, InFlight::NONE);
            return Err((
                Law::Progress,
                format!("{quota:?} after {PATIENCE:?} with nothing in flight, a packet has {packet} bytes"),
            ));
        }
        match self.subject.pacing_rate() {
            Some(rate) if rate < packet => Err((
                Law::Progress,
                format!("pacing rate {rate} bytes/s, under one packet of {packet} bytes a second"),
            )),
            _ => Ok(()),
        }
    }

    fn check_twin(&self, now: Instant, in_flight: InFlight) -> Result<(), Broken> {
        let answers = |controller: &dyn CongestionController| {
            let quota = controller.quota(now, in_flight);
            (controller.window(), quota, controller.pacing_rate(), controller.recovery_profile())
        };
        let (one, other) = (answers(&*self.subject), answers(&*self.twin));
        if one != other {
            return Err((Law::Deterministic, format!("one answers {one:?}, its twin {other:?}")));
        }
        Ok(())
    }
}

/// Whether a window is larger than another in packets or in bytes. None is the largest.
pub(super) fn exceeds(window: Window, other: Window) -> bool {
    let packets = |window: Window| window.packets.unwrap_or(u32::MAX);
    let bytes = |window: Window| window.bytes.unwrap_or(u64::MAX);
    packets(window) > packets(other) || bytes(window) > bytes(other)
}
