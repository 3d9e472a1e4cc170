//! S8: behind the veil every byte of every datagram looks random, and a replayed handshake gets no byte back.

use std::time::Duration;

use fastwire::{ClientConfig, Identity, ServerConfig};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Cores, Parcel, client_address, configs, honest};

const DATAGRAMS: usize = 1_000_000;
const QUICK_DATAGRAMS: usize = 40_000;
/// Rounds of messages a connection; each is some datagrams.
const ROUNDS: u64 = 60;
/// A position is judged when so many datagrams reach it: five for each value of a byte, and more to be sure.
const ENOUGH: u64 = 256 * 10;
const P_VALUE: f64 = 0.001;

/// S8.
pub(super) struct Noise;

impl Check for Noise {
    fn id(&self) -> &'static str {
        "S8"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let wanted = if run.quick { QUICK_DATAGRAMS } else { DATAGRAMS };
        match listen(run.start(), wanted) {
            Ok(heard) => heard.judge(),
            Err(why) => Outcome::fell_short(why),
        }
    }
}

/// What somebody who listens has.
#[derive(Default)]
struct Heard {
    /// To the server, and to the client.
    datagrams: [Vec<Vec<u8>>; 2],
    /// Datagrams of handshakes among them.
    handshakes: u64,
    replayed: u64,
    answered: u64,
}

/// Connections one after the other until enough datagrams have passed; all that a client sent is then said again.
fn listen(start: u64, wanted: usize) -> Result<Heard, String> {
    let (server, client) = veiled();
    let mut heard = Heard::default();
    let mut seed = start;
    while heard.datagrams.iter().map(Vec::len).sum::<usize>() < wanted {
        let mut cores = Cores::new(seed, &server, &client)?;
        seed += 1;
        let id = cores.connect()?;
        let mut up = Vec::new();
        let mut between = |parcel: Parcel, out: &mut Vec<Parcel>| {
            heard.datagrams[usize::from(!parcel.up)].push(parcel.bytes.clone());
            if parcel.up {
                up.push((parcel.socket, parcel.bytes.clone()));
            }
            honest(parcel, out);
        };
        let until = cores.now + Duration::from_secs(5);
        if !cores.run(until, &mut between, |cores| {
            cores
                .server
                .connections()
                .next()
                .is_some_and(|id| cores.server.state(id) == fastwire::ConnectionState::Connected)
        }) {
            return Err(format!("seed {seed}: not connected"));
        }
        // CONNECT, CHALLENGE, RESPONSE, CONNECTED
        heard.handshakes += 4;
        let at_server = cores.server.connections().next().ok_or("no connection")?;
        for round in 0..ROUNDS {
            let message = [round as u8; 20];
            cores.client.send(cores.now, id, &message[..], (round % 4) as u8).map_err(|e| e.to_string())?;
            cores.server.send(cores.now, at_server, &message[..], 2).map_err(|e| e.to_string())?;
            cores.run(cores.now + Duration::from_millis(17), &mut between, |_| false);
        }
        replay(&mut cores, &up, &mut heard.replayed, &mut heard.answered);
    }
    Ok(heard)
}

/// Says everything again from the client's address and from another: the server must keep silent.
fn replay(
    cores: &mut Cores,
    up: &[(fastwire::transport::SocketId, Vec<u8>)],
    replayed: &mut u64,
    answered: &mut u64,
) {
    let mut buf = fastwire::proto::TransmitBuf::new(4);
    while cores.server.poll_transmit(cores.now, &mut buf).is_some() {}
    for (socket, bytes) in up {
        for from in [client_address(*socket), ([10, 77, 0, 1], 4711).into()] {
            cores.spoof(from, bytes);
            *replayed += 1;
            while let Some(transmit) = cores.server.poll_transmit(cores.now, &mut buf) {
                *answered += transmit.contents.len() as u64;
            }
        }
    }
}

fn veiled() -> (ServerConfig, ClientConfig) {
    let (mut server, mut client) = configs(Profile::Extended);
    let identity = Identity::from_secret([8; 32]);
    (client.pinned, server.identity) = (Some(identity.public_key()), Some(identity));
    (server.veil, client.veil) = (true, true);
    (server, client)
}

impl Heard {
    fn judge(self) -> Outcome {
        let total: usize = self.datagrams.iter().map(Vec::len).sum();
        let (mut positions, mut least, mut repeats) = (0u32, 1.0_f64, 0u64);
        for datagrams in &self.datagrams {
            let longest = datagrams.iter().map(Vec::len).max().unwrap_or(0);
            for position in 0..longest {
                if let Some(p) = uniform(datagrams.iter().filter_map(|bytes| bytes.get(position).copied())) {
                    positions += 1;
                    least = least.min(p);
                }
                repeats += twice(datagrams, position);
            }
        }
        // Many positions are judged: the smallest of so many p-values is judged as such (Bonferroni).
        let corrected = (least * f64::from(positions)).min(1.0);
        let ok = corrected > P_VALUE && repeats == 0 && self.answered == 0 && positions > 0;
        let figure = format!(
            "{total} datagrams, {positions} positions, smallest p {least:.2e} (corrected {corrected:.3}), {repeats} repeats of 8 \
             bytes, {} bytes answered to replays",
            self.answered
        );
        Outcome::new(ok, figure)
            .fault("handshake datagrams", self.handshakes)
            .fault("datagrams replayed", self.replayed)
    }
}

/// The probability that evenly distributed bytes are spread at least so unevenly: chi-square with 255 degrees of freedom, by the
/// approximation of Wilson and Hilferty. `None`: too few bytes.
fn uniform(bytes: impl Iterator<Item = u8>) -> Option<f64> {
    let mut counts = [0u64; 256];
    bytes.for_each(|byte| counts[usize::from(byte)] += 1);
    let total: u64 = counts.iter().sum();
    if total < ENOUGH {
        return None;
    }
    let expected = total as f64 / 256.0;
    let chi: f64 = counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum();
    let spread = 2.0 / (9.0 * 255.0);
    let z = ((chi / 255.0).cbrt() - (1.0 - spread)) / spread.sqrt();
    Some(upper_tail(z))
}

/// How often a normal variable is above `z` (Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7; beyond 5 the
/// asymptotic bound, which is larger than the truth by less than 4 %).
fn upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper_tail(-z);
    }
    if z > 5.0 {
        return (-z * z / 2.0).exp() / (z * (2.0 * std::f64::consts::PI).sqrt());
    }
    let x = z / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let terms = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let polynomial = terms.iter().fold(0.0, |sum, term| (sum + term) * t);
    polynomial * (-x * x).exp() / 2.0
}

/// How many datagrams have 8 bytes at this offset that another one has there too.
fn twice(datagrams: &[Vec<u8>], offset: usize) -> u64 {
    let window = |bytes: &Vec<u8>| {
        bytes.get(offset..offset + 8)?.first_chunk().map(|window| u64::from_le_bytes(*window))
    };
    let mut windows: Vec<u64> = datagrams.iter().filter_map(window).collect();
    windows.sort_unstable();
    windows.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64
}

#[cfg(test)]
mod tests {
    use fastwire::sim::Rng;

    use super::*;

    #[test]
    fn the_test_of_uniformity_passes_noise_and_fails_a_slight_bias() {
        let mut rng = Rng::new(1);
        let noise: Vec<u8> = (0..200_000).map(|_| rng.next_u64() as u8).collect();
        let p = uniform(noise.iter().copied()).expect("enough");
        assert!(p > 1e-4, "{p}");
        // One byte in 200 is 7.
        let biased = noise.iter().enumerate().map(|(i, byte)| if i % 200 == 0 { 7 } else { *byte });
        let p = uniform(biased).expect("enough");
        assert!(p < 1e-6, "{p}");
        assert_eq!(uniform(noise.iter().copied().take(100)), None);
    }

    #[test]
    fn tails_are_those_of_the_table() {
        for (z, tail) in [(0.0, 0.5), (1.0, 0.158_655), (2.0, 0.022_750), (3.0, 0.001_350), (-1.0, 0.841_345)]
        {
            assert!((upper_tail(z) - tail).abs() < 1e-5, "{z}: {}", upper_tail(z));
        }
        assert!((upper_tail(6.0) / 9.866e-10 - 1.0).abs() < 0.04);
    }

    #[test]
    fn repeats_are_found_where_they_are() {
        let mut rng = Rng::new(2);
        let mut noise: Vec<Vec<u8>> =
            (0..1000).map(|_| (0..40).map(|_| rng.next_u64() as u8).collect()).collect();
        assert_eq!((0..40).map(|offset| twice(&noise, offset)).sum::<u64>(), 0);
        let copied = noise[3][11..19].to_vec();
        noise[700][11..19].copy_from_slice(&copied);
        assert_eq!((twice(&noise, 11), twice(&noise, 12)), (1, 0));
    }
}
