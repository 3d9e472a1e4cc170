//! A bad line described on the command line: `--loss 5% --delay 25ms --rate 20mbit --queue 64k`.

use std::time::Duration;

use fastwire::sim::{LinkConfig, Loss, Reorder};

/// What [`LineOptions::accept`] understands, for help texts.
pub const HELP: &str = "\
  --delay TIME        one way, each way (25ms, 1.5s)
  --jitter TIME       the delay varies by this much up and down, order is kept
  --loss SHARE        lost on the way (5% or 0.05)
  --burst N           losses come N in a row
  --duplicate SHARE   arrive twice
  --corrupt SHARE     arrive with a flipped bit
  --reorder SHARE     fall behind, by up to --depth datagrams
  --depth N           how many datagrams overtake one that falls behind, at most (default 8)
  --rate RATE         bottleneck (20mbit, 500kbit), headers of 28 bytes counted
  --queue SIZE        its queue in bytes (64k) or datagrams (25p); default 1000p
  --mtu BYTES         larger datagrams are dropped
  --blackout A/B      nothing passes for the last A of every B (2s/7s)";

/// A line read from arguments, one after the other.
#[derive(Clone, Debug, Default)]
pub struct LineOptions {
    delay: Duration,
    jitter: Duration,
    loss: f64,
    burst: Option<u32>,
    duplicate: f64,
    corrupt: f64,
    reorder: f64,
    depth: Option<u32>,
    rate: Option<u64>,
    queue: Option<Queue>,
    mtu: Option<usize>,
    blackout: Option<(Duration, Duration)>,
}

#[derive(Clone, Copy, Debug)]
enum Queue {
    Bytes(usize),
    Datagrams(usize),
}

impl LineOptions {
    /// Takes one option if it is one of a line's; `value` yields its argument.
    ///
    /// # Errors
    ///
    /// The value is missing or cannot be read; the text says what to write.
    pub fn accept(
        &mut self,
        option: &str,
        value: impl FnOnce() -> Result<String, String>,
    ) -> Result<bool, String> {
        match option {
            "--delay" => self.delay = duration(&value()?)?,
            "--jitter" => self.jitter = duration(&value()?)?,
            "--loss" => self.loss = share(&value()?)?,
            "--burst" => self.burst = Some(number(&value()?)?),
            "--duplicate" => self.duplicate = share(&value()?)?,
            "--corrupt" => self.corrupt = share(&value()?)?,
            "--reorder" => self.reorder = share(&value()?)?,
            "--depth" => self.depth = Some(number(&value()?)?),
            "--rate" => self.rate = Some(rate(&value()?)?),
            "--queue" => self.queue = Some(queue(&value()?)?),
            "--mtu" => self.mtu = Some(number(&value()?)?),
            "--blackout" => self.blackout = Some(outage(&value()?)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The line described.
    ///
    /// # Errors
    ///
    /// The first value out of its range.
    pub fn config(&self) -> Result<LinkConfig, String> {
        let loss = match self.burst {
            None => Loss::Bernoulli { rate: self.loss },
            Some(length) => Loss::Bursts { rate: self.loss, length },
        };
        let how = Reorder::Depth { depth: self.depth.unwrap_or(8), at_most: Duration::from_secs(1) };
        let mut config = LinkConfig::new()
            .latency(self.delay)
            .jitter(self.jitter)
            .loss(loss)
            .duplicate(self.duplicate)
            .corrupt(self.corrupt)
            .reorder(self.reorder, how);
        if let Some(rate) = self.rate {
            config = config.rate(rate);
        }
        config = match self.queue {
            Some(Queue::Bytes(bytes)) => config.queue_packets(usize::MAX).queue_bytes(bytes),
            Some(Queue::Datagrams(datagrams)) => config.queue_packets(datagrams),
            None => config,
        };
        if let Some(mtu) = self.mtu {
            config = config.mtu(mtu);
        }
        if let Some((down, period)) = self.blackout {
            config = config.blackout_every(down, period);
        }
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }
}

/// Reads `25ms`, `1.5s`, `250us` or `2m`.
///
/// # Errors
///
/// Anything else; the text says what to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0), ("m", 60.0)];
    let seconds = units.into_iter().find_map(|(unit, scale)| {
        let value: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(value * scale).ok()
    });
    seconds.ok_or_else(|| format!("{text:?} is no time: write 25ms, 1.5s, 250us or 2m"))
}

/// Reads `5%` or `0.05`.
///
/// # Errors
///
/// Anything else; the text says what to write.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let value =
        number.parse::<f64>().map(|value| value * scale).ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| format!("{text:?} is no share: write 5% or 0.05, from 0 to 100%"))
}

/// Reads `20mbit`, `500kbit`, `1gbit` or `9600bit`, in bits per second.
fn rate(text: &str) -> Result<u64, String> {
    let units = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)];
    let bits = units.into_iter().find_map(|(unit, scale)| {
        let value: f64 = text.strip_suffix(unit)?.parse().ok()?;
        (value > 0.0 && value.is_finite()).then_some((value * scale) as u64)
    });
    bits.ok_or_else(|| format!("{text:?} is no rate: write 20mbit, 500kbit, 1gbit or 9600bit"))
}

/// Reads `64k` (KiB), `2m` (MiB), `1500` (bytes) or `25p` (datagrams).
fn queue(text: &str) -> Result<Queue, String> {
    let scaled = |unit, scale: usize| {
        text.strip_suffix(unit).and_then(|number| number.parse::<usize>().ok()?.checked_mul(scale))
    };
    scaled("p", 1)
        .map(Queue::Datagrams)
        .or_else(|| {
            scaled("k", 1 << 10).or_else(|| scaled("m", 1 << 20)).or_else(|| scaled("", 1)).map(Queue::Bytes)
        })
        .ok_or_else(|| format!("{text:?} is no queue: write 64k or 1500 for bytes, 25p for datagrams"))
}

fn outage(text: &str) -> Result<(Duration, Duration), String> {
    let (down, period) = text
        .split_once('/')
        .ok_or_else(|| format!("{text:?} is no outage: write 2s/7s, 2 s in every 7 s"))?;
    Ok((duration(down)?, duration(period)?))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no whole number in range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<LinkConfig, String> {
        let mut line = LineOptions::default();
        let mut words = text.split_whitespace().map(str::to_owned);
        while let Some(option) = words.next() {
            assert!(line.accept(&option, || words.next().ok_or_else(|| "missing".into()))?, "{option}");
        }
        line.config()
    }

    #[test]
    fn every_option_reaches_the_line() {
        let ms = Duration::from_millis;
        let parsed = parse(
            "--delay 25ms --jitter 5000us --loss 5% --burst 3 --duplicate 0.01 --corrupt 1% --reorder 50% --depth 4 \
             --rate 20mbit --queue 64k --mtu 1200 --blackout 2s/7s",
        );
        let expected = LinkConfig::new()
            .latency(ms(25))
            .jitter(ms(5))
            .loss(Loss::Bursts { rate: 0.05, length: 3 })
            .duplicate(0.01)
            .corrupt(0.01)
            .reorder(0.5, Reorder::Depth { depth: 4, at_most: ms(1000) })
            .rate(20_000_000)
            .queue_packets(usize::MAX)
            .queue_bytes(65_536)
            .mtu(1200)
            .blackout_every(ms(2000), ms(7000));
        assert_eq!(parsed, Ok(expected));
        let by_datagrams = parse("--rate 1.5kbit --queue 25p").map(|line| format!("{line:?}"));
        assert!(
            by_datagrams.is_ok_and(|line| line.contains("queue_packets: 25") && line.contains("Some(1500)"))
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_an_example() {
        for (bad, hint) in [
            ("--loss 5", "5%"),
            ("--loss 101%", "5%"),
            ("--delay 25", "25ms"),
            ("--delay -1s", "25ms"),
            ("--rate 20", "20mbit"),
            ("--rate 0bit", "20mbit"),
            ("--queue 5x", "64k"),
            ("--blackout 2s", "2s/7s"),
            ("--blackout 7s/2s", "period"),
            ("--jitter 1ms", "latency"),
            ("--burst 0", "at least 1"),
            ("--mtu big", "number"),
            ("--depth", "missing"),
        ] {
            let error = parse(bad).expect_err(bad);
            assert!(error.contains(hint), "{bad}: {error}");
        }
    }
}
