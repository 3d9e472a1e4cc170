//! What every child process shares: clocks, processor time, sockets of equal size, and arguments.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// The UDP payload every system is held to, in bytes.
pub const MTU: usize = 1200;
/// Receive buffer asked for every socket, in bytes.
const RECV_BUFFER: usize = 4 << 20;
/// Send buffer asked for every socket, in bytes.
const SEND_BUFFER: usize = 1 << 20;

/// Anything that stops a child.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Outcome<T> = Result<T, Failure>;

/// Nanoseconds of the clock that all processes of this machine share.
pub fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

/// Processor time a process has used, user and system, all threads. 0 for a process that is gone.
pub fn cpu(pid: i32) -> Duration {
    let clock = if pid == 0 {
        Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID)
    } else {
        clock_getcpuclockid(Pid::from_raw(pid))
    };
    clock.and_then(clock_gettime).map_or(Duration::ZERO, Duration::from)
}

/// Resident memory of a process in bytes, without what is of files: the pages of its program that happened to be used.
pub fn resident(pid: i32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut fields = statm.split(' ').map(|pages| pages.parse::<u64>().unwrap_or(0)).skip(1);
    let (resident, of_files) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
    resident.saturating_sub(of_files) * 4096
}

/// A UDP socket on loopback with the buffers that every system gets; non-blocking.
pub fn udp() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let options = socket2::SockRef::from(&socket);
    options.set_recv_buffer_size(RECV_BUFFER)?;
    options.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A socket of a crowd: thousands of them share the machine, so each gets only what its own traffic needs.
pub fn small_udp() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sleeps until the socket is readable or the time is over.
pub fn wait_readable(socket: &impl AsFd, time: Duration) {
    let mut watched = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    // poll counts milliseconds: rounded up, so that a short wait does not spin.
    let millis = time.as_micros().div_ceil(1000).min(60_000) as u16;
    let _ = poll(&mut watched, PollTimeout::from(millis));
}

/// Keeps this process on the processor that its arguments name, if they do and the machine has it.
pub fn stay_on_processor(args: &Args) {
    let Ok(number) = args.text("processor").parse() else { return };
    let mut only = CpuSet::new();
    if only.set(number).is_ok() {
        // a machine with one processor runs both there
        let _ = sched_setaffinity(Pid::from_raw(0), &only);
    }
}

/// Arguments of a child, `key=value` each.
#[derive(Clone, Debug, Default)]
pub struct Args(HashMap<String, String>);

impl Args {
    pub fn parse(words: &[String]) -> Self {
        let pairs = words.iter().filter_map(|word| word.split_once('='));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.0.insert(key.to_owned(), value.to_string());
    }

    pub fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// The value of a key; `T::default()` if it is not given.
    pub fn get<T: FromStr + Default>(&self, key: &str) -> T {
        self.text(key).parse().unwrap_or_default()
    }

    /// How long a transfer may take: `limit` seconds, a minute where nothing is said. What has arrived by then counts.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(match self.get("limit") {
            0 => 60,
            limit => limit,
        })
    }

    pub fn server(&self) -> Outcome<SocketAddr> {
        Ok(self.text("server").parse()?)
    }
}

/// The value below which that share of the values lies; 0 of none. Sorts them.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * share) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}
