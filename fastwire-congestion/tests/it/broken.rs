//! The conformance suite finds what it looks for: for each law, a controller that breaks it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use fastwire_congestion::conformance::{self, Law};
use fastwire_congestion::{
    Acked, Congestion, CongestionController, Conservative, FirstRepeat, InFlight, PathChange, PathInfo,
    Quota, RecoveryProfile, Sent, Spurious, Window,
};

/// What is wrong with a controller that is sound otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    PanicsOnEmptyFlight,
    NotANumber,
    WindowOfOne,
    QuotaIgnoresFlight,
    StopsAfterLoss,
    PacingRateOfZero,
    Random,
    ThresholdOfZero,
    LossRaises,
    SpuriousLowers,
    NeverGrows,
    KeepsWindowOnNewPath,
    WaitsForTheClock,
    OverflowsBytes,
}

struct Broken {
    fault: Fault,
    sound: Conservative,
    newest: Instant,
    /// What an earlier event spoilt for good.
    spoilt: bool,
    bytes: u64,
    salt: u32,
}

impl Broken {
    fn new(fault: Fault, path: &PathInfo, salt: u32) -> Self {
        let sound = Conservative::new(path);
        Self { fault, sound, newest: path.now, spoilt: false, bytes: 0, salt }
    }
}

impl CongestionController for Broken {
    fn on_sent(&mut self, sent: &Sent) {
        self.newest = self.newest.max(sent.now);
        self.sound.on_sent(sent);
        if self.fault == Fault::OverflowsBytes {
            self.bytes = self.bytes.checked_add(sent.bytes).expect("bytes fit");
        }
    }

    fn on_acked(&mut self, acked: &Acked) {
        if self.fault == Fault::PanicsOnEmptyFlight {
            assert_ne!(acked.in_flight.packets, 0, "an acknowledgement with nothing left in flight");
        }
        if self.fault == Fault::NotANumber && acked.app_limited {
            self.spoilt = true;
        }
        if !(self.fault == Fault::NeverGrows && self.spoilt) {
            self.sound.on_acked(acked);
        }
    }

    fn on_congestion(&mut self, event: &Congestion) {
        let before = self.window();
        self.sound.on_congestion(event);
        self.spoilt = true;
        if self.fault == Fault::LossRaises {
            let Window { packets: Some(packets), .. } = before else { return };
            self.sound = Conservative::new(&PathInfo::new(event.now, 1200).with_initial_window(packets + 1));
        }
    }

    fn on_spurious(&mut self, event: &Spurious) {
        if self.fault == Fault::SpuriousLowers {
            let now = event.now;
            let kind = fastwire_congestion::CongestionKind::Loss;
            self.sound.on_congestion(&Congestion::new(now, kind, 0, 0, InFlight::NONE));
        } else {
            self.sound.on_spurious(event);
        }
    }

    fn on_path_change(&mut self, event: &PathChange) {
        if self.fault != Fault::KeepsWindowOnNewPath {
            self.sound.on_path_change(event);
            *self = Self { sound: self.sound.clone(), ..Self::new(self.fault, &event.path, self.salt) };
        }
    }

    fn quota(&self, now: Instant, in_flight: InFlight) -> Quota {
        match self.fault {
            Fault::QuotaIgnoresFlight => self.window().minus(InFlight::NONE),
            Fault::StopsAfterLoss if self.spoilt => Quota::NONE,
            Fault::WaitsForTheClock if now < self.newest => Quota::NONE,
            _ => self.window().minus(in_flight),
        }
    }

    fn window(&self) -> Window {
        let sound = self.sound.window();
        match self.fault {
            Fault::NotANumber if self.spoilt => Window::of_packets((f64::from(self.salt) * f64::NAN) as u32),
            Fault::WindowOfOne if self.spoilt => Window::of_packets(1),
            Fault::Random => Window::of_packets(sound.packets.unwrap_or(2).saturating_add(self.salt)),
            _ => sound,
        }
    }

    fn pacing_rate(&self) -> Option<u64> {
        (self.fault == Fault::PacingRateOfZero).then_some(u64::from(!self.spoilt) * 1_000_000)
    }

    fn recovery_profile(&self) -> RecoveryProfile {
        match self.fault {
            Fault::ThresholdOfZero => RecoveryProfile::new(0, FirstRepeat::FullRto),
            _ => RecoveryProfile::CONSERVATIVE,
        }
    }
}

#[test]
fn each_law_catches_its_fault() {
    let faults = [
        (Fault::PanicsOnEmptyFlight, Law::NoPanic),
        (Fault::NotANumber, Law::Floor),
        (Fault::WindowOfOne, Law::Floor),
        (Fault::QuotaIgnoresFlight, Law::QuotaWithinWindow),
        (Fault::StopsAfterLoss, Law::Progress),
        (Fault::PacingRateOfZero, Law::Progress),
        (Fault::Random, Law::Deterministic),
        (Fault::ThresholdOfZero, Law::Profile),
        (Fault::LossRaises, Law::CongestionNeverRaises),
        (Fault::SpuriousLowers, Law::SpuriousNeverLowers),
        (Fault::NeverGrows, Law::Recovers),
        (Fault::KeepsWindowOnNewPath, Law::PathRestarts),
        (Fault::WaitsForTheClock, Law::ClockBackwards),
        (Fault::OverflowsBytes, Law::ExtremeValues),
    ];
    for (fault, law) in faults {
        let salt = Cell::new(0);
        let make = |path: &PathInfo| {
            salt.set(salt.get() + 1);
            Broken::new(fault, path, salt.get())
        };
        let failure = conformance::check(make).expect_err(&format!("{fault:?} goes unnoticed"));
        println!("{fault:?}: {failure}");
        assert_eq!(failure.law, law, "{fault:?}: {failure}");
        let again = conformance::check(|path| Broken::new(fault, path, 7));
        if fault != Fault::Random {
            assert_eq!(again.expect_err("the same fault"), failure, "a failure comes back on every run");
        }
    }
    for law in Law::ALL {
        assert!(faults.iter().any(|(_, caught)| caught == law), "{law:?} has no fault here");
    }
}

#[test]
fn the_faultless_frame_conforms() {
    // The frame the faults sit in passes by itself, so each failure above is the fault's doing.
    conformance::check(|path| Paced(Conservative::new(path))).unwrap_or_else(|failure| panic!("{failure}"));
}

/// Sound, and paced: the suite accepts a pacing rate.
struct Paced(Conservative);

impl CongestionController for Paced {
    fn on_sent(&mut self, sent: &Sent) {
        self.0.on_sent(sent);
    }

    fn on_acked(&mut self, acked: &Acked) {
        self.0.on_acked(acked);
    }

    fn on_congestion(&mut self, event: &Congestion) {
        self.0.on_congestion(event);
    }

    fn on_path_change(&mut self, event: &PathChange) {
        self.0.on_path_change(event);
    }

    fn quota(&self, now: Instant, in_flight: InFlight) -> Quota {
        self.0.quota(now, in_flight)
    }

    fn window(&self) -> Window {
        self.0.window()
    }

    fn pacing_rate(&self) -> Option<u64> {
        let round_trip = Duration::from_millis(100);
        Some((self.0.cwnd() * 1200.0 / round_trip.as_secs_f64()) as u64)
    }
}
