//! Asks a peer whose window is closed, ever more seldom.

const LONGEST_WAIT: u32 = 120_000;

/// The probe timer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probe {
    /// The present wait in ms and when it ends; `None` while the peer's window is open.
    timer: Option<(u32, i64)>,
}

impl Probe {
    /// Looks at the peer's window; true when it is time to ask.
    pub(crate) fn is_due(&mut self, remote_window: u32, first_wait: u32, now: i64) -> bool {
        if remote_window != 0 {
            self.timer = None;
            return false;
        }
        let Some((wait, due)) = self.timer else {
            self.timer = Some((first_wait, now + i64::from(first_wait)));
            return false;
        };
        if now < due {
            return false;
        }
        let wait = (wait.max(first_wait) * 3 / 2).min(LONGEST_WAIT);
        self.timer = Some((wait, now + i64::from(wait)));
        true
    }

    /// When to look again.
    pub(crate) fn due(&self) -> Option<i64> {
        self.timer.map(|(_, due)| due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_half_up_to_two_minutes() {
        let mut probe = Probe::default();
        let asked: Vec<i64> = (0..1_000_000).filter(|&now| probe.is_due(0, 7_000, now)).collect();
        let waits: Vec<i64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(asked[0], 7_000);
        assert_eq!(waits[..3], [10_500, 15_750, 23_625]);
        assert_eq!(waits.last(), Some(&120_000));
        assert!(!probe.is_due(1, 7_000, 2_000_000), "an open window needs no probe");
        assert_eq!(probe.due(), None);
    }
}
