//! The workloads for systems that their owner's loop drives.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::behaviour::{Behaviour, number, progress};
use crate::report::{Meter, Report};
use crate::system::{Args, Outcome, now_ns, quantile, wait_readable};

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Ordered,
    Unreliable,
}

impl Mode {
    pub fn of(args: &Args, key: &str) -> Self {
        if args.text(key) == "unreliable" { Self::Unreliable } else { Self::Ordered }
    }
}

/// One client end, never blocking.
pub trait PollClient: Sized {
    /// Begins to connect; `crowd` if it is one of many on this machine.
    fn start(args: &Args, crowd: bool) -> Outcome<Self>;
    fn descriptor(&self) -> BorrowedFd<'_>;
    fn is_connected(&mut self) -> bool;
    /// Queues a message; false if there is no room.
    fn send(&mut self, data: &[u8], mode: Mode) -> bool;
    /// Takes what has arrived.
    fn receive(&mut self, on: &mut dyn FnMut(&[u8])) -> Outcome<()>;
    /// Sends what is queued.
    fn flush(&mut self) -> Outcome<()>;
    /// How long it may be left alone if nothing arrives.
    fn sleep(&self) -> Duration;

    /// One turn: sleeps for at most `wait`, receives, sends.
    fn turn(&mut self, wait: Duration, on: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if !wait.is_zero() {
            wait_readable(&self.descriptor(), wait.min(self.sleep()));
        }
        self.receive(on)?;
        self.flush()
    }
}

/// One server end in a loop of its owner's.
pub trait PollServer: Sized {
    fn descriptor(&self) -> BorrowedFd<'_>;
    /// Receives, answers, sends.
    fn turn(&mut self, on: &mut dyn FnMut(&[u8], &mut Vec<u8>) -> bool) -> Outcome<()>;
    /// How long it may be left alone if nothing arrives.
    fn sleep(&self) -> Duration;
}

/// Ends a server when the process that started it closes its standard input.
pub fn stop_with_parent() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        flag.store(true, Ordering::Relaxed);
    });
    stop
}

/// Serves until the parent closes standard input, then prints what was logged.
pub fn serve(mut server: impl PollServer, port: u16, args: &Args) -> Outcome<()> {
    let stop = stop_with_parent();
    let spin = args.text("wait") == "spin";
    let mut behaviour = Behaviour::new(args);
    println!("{port}");
    while !stop.load(Ordering::Relaxed) {
        if !spin {
            wait_readable(&server.descriptor(), server.sleep().min(Duration::from_millis(50)));
        }
        server.turn(&mut |data, reply| behaviour.on_message(data, reply))?;
    }
    crate::report::print_latencies(&behaviour.latencies);
    Ok(())
}

/// Runs the workload that the arguments name.
pub fn drive<C: PollClient>(args: &Args) -> Outcome<Report> {
    match args.text("work") {
        "bulk" => bulk::<C>(args),
        "flood" => flood::<C>(args),
        "ping" => ping::<C>(args),
        "crowd" => crowd::<C>(args),
        "stream" => stream::<C>(args),
        "handshakes" => handshakes::<C>(args),
        other => Err(format!("no workload {other:?}").into()),
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

fn connect<C: PollClient>(args: &Args) -> Outcome<C> {
    let mut client = C::start(args, false)?;
    let until = Instant::now() + PATIENCE;
    client.flush()?;
    while !client.is_connected() {
        if Instant::now() > until {
            return Err("not connected".into());
        }
        client.turn(Duration::from_millis(5), &mut |_| {})?;
    }
    Ok(client)
}

/// `total` messages of `size` bytes as fast as they are accepted.
fn bulk<C: PollClient>(args: &Args) -> Outcome<Report> {
    let (total, size): (u64, usize) = (args.get("total"), args.get("size"));
    let window = args.get::<u64>("window").max(1);
    let mut client = connect::<C>(args)?;
    let meter = Meter::start(args);
    let mut message = vec![0x5a; size];
    let (mut sent, mut arrived) = (0, 0);
    let until = Instant::now() + args.patience();
    while arrived < total && Instant::now() < until {
        while sent < total && sent - arrived < window {
            message[..8].copy_from_slice(&sent.to_le_bytes());
            if !client.send(&message, Mode::Ordered) {
                break;
            }
            sent += 1;
        }
        client.flush()?;
        client.turn(Duration::from_millis(50), &mut |data| arrived = arrived.max(progress(data).1))?;
    }
    Ok(meter.bulk(arrived, size))
}

/// Messages as fast as the receiver tells that they arrive, for `seconds`.
fn flood<C: PollClient>(args: &Args) -> Outcome<Report> {
    let (size, window): (usize, u64) = (args.get("size"), args.get("window"));
    let mut client = connect::<C>(args)?;
    let mut message = vec![0x5a; size];
    // `newest`: the number of the newest message that is known to have arrived.
    let (mut sent, mut newest, mut arrived, mut heard) = (1u64, 0u64, 0u64, Instant::now());
    let meter = Meter::start(args);
    let end = Instant::now() + Duration::from_secs_f64(args.get("seconds"));
    while Instant::now() < end {
        while sent - newest < window {
            message[..8].copy_from_slice(&sent.to_le_bytes());
            if !client.send(&message, Mode::Unreliable) {
                break;
            }
            sent += 1;
        }
        client.flush()?;
        let before = arrived;
        client.turn(Duration::from_millis(5), &mut |data| {
            let told = progress(data);
            (newest, arrived) = (newest.max(told.0), arrived.max(told.1));
        })?;
        if arrived > before {
            heard = Instant::now();
        } else if heard.elapsed() > Duration::from_millis(100) {
            // All that was under way is lost: begin anew.
            (newest, heard) = (sent - 1, Instant::now());
        }
    }
    let report = meter.flood(arrived);
    // What is still under way counts as delivered if it arrives.
    let mut grace = Instant::now() + Duration::from_millis(300);
    while Instant::now() < grace && newest + 1 < sent {
        let before = arrived;
        client.turn(Duration::from_millis(5), &mut |data| {
            let told = progress(data);
            (newest, arrived) = (newest.max(told.0), arrived.max(told.1));
        })?;
        if arrived > before {
            grace = Instant::now() + Duration::from_millis(300);
        }
    }
    // The receiver tells only every so often: up to that many may have come unannounced.
    let unannounced = args.get::<u64>("every").min((sent - 1).saturating_sub(newest));
    Ok(report.delivered((arrived + unannounced) as f64 / (sent - 1).max(1) as f64))
}

/// `count` messages, each sent when the answer to the one before has come.
fn ping<C: PollClient>(args: &Args) -> Outcome<Report> {
    let (count, size): (usize, usize) = (args.get("count"), args.get("size"));
    let wait = if args.text("wait") == "spin" { Duration::ZERO } else { Duration::from_millis(50) };
    let mut client = connect::<C>(args)?;
    let message = vec![0x5a; size];
    let mut times = Vec::with_capacity(count);
    let meter = Meter::start(args);
    for _ in 0..count {
        let started = Instant::now();
        let mut answered = false;
        client.send(&message, Mode::of(args, "up"));
        client.flush()?;
        while !answered {
            client.turn(wait, &mut |_| answered = true)?;
            if started.elapsed() > PATIENCE {
                return Err("no answer".into());
            }
        }
        times.push(started.elapsed().as_nanos() as f64 / 1e3);
    }
    Ok(meter.ping(&mut times))
}

/// Small messages at a steady rate over a slow path; the server keeps how long they took.
fn stream<C: PollClient>(args: &Args) -> Outcome<Report> {
    let (rate, seconds, size): (f64, f64, usize) = (args.get("rate"), args.get("seconds"), args.get("size"));
    let mut client = connect::<C>(args)?;
    // Let what the handshake left behind settle.
    let settled = Instant::now() + Duration::from_millis(500);
    while Instant::now() < settled {
        client.turn(Duration::from_millis(5), &mut |_| {})?;
    }
    let meter = Meter::start(args);
    let mut noise = crate::report::Noise::new(args.get("seed"));
    let mut message = vec![0; size];
    let (start, period) = (Instant::now(), Duration::from_secs_f64(1.0 / rate));
    let mut sent = 0;
    while start.elapsed().as_secs_f64() < seconds {
        if Instant::now() >= start + period * sent {
            noise.fill(&mut message);
            message[..8].copy_from_slice(&now_ns().to_le_bytes());
            client.send(&message, Mode::Ordered);
            client.flush()?;
            sent += 1;
        }
        let due = (start + period * sent).saturating_duration_since(Instant::now());
        client.turn(due.max(Duration::from_micros(1)), &mut |_| {})?;
    }
    // What is under way may still arrive.
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        client.turn(Duration::from_millis(5), &mut |_| {})?;
    }
    Ok(meter.stream(u64::from(sent), size))
}

/// `count` connections in turn, then as many at once.
fn handshakes<C: PollClient>(args: &Args) -> Outcome<Report> {
    let count: usize = args.get("count");
    let mut times = Vec::new();
    let meter = Meter::start(args);
    if args.text("case") == "at once" {
        let mut clients = (0..count)
            .map(|i| {
                let mut a = args.clone();
                a.set("id", i + 1);
                C::start(&a, true)
            })
            .collect::<Outcome<Vec<C>>>()?;
        let until = Instant::now() + PATIENCE;
        let mut waiting: Vec<usize> = (0..count).collect();
        while !waiting.is_empty() && Instant::now() < until {
            for &index in &waiting {
                clients[index].turn(Duration::ZERO, &mut |_| {})?;
            }
            waiting.retain(|&index| !clients[index].is_connected());
        }
        return Ok(meter.handshakes_at_once(count - waiting.len(), count));
    }
    for id in 0..count {
        let started = Instant::now();
        let mut args = args.clone();
        args.set("id", id + 1);
        let client = connect::<C>(&args)?;
        times.push(started.elapsed().as_nanos() as f64 / 1e3);
        drop(client);
    }
    Ok(meter.handshakes_in_turn(&mut times))
}

/// `n` connections that each send `rate` messages a second and get answers.
fn crowd<C: PollClient>(args: &Args) -> Outcome<Report> {
    let n: usize = args.get("n");
    let (rate, seconds): (f64, f64) = (args.get("rate"), args.get("seconds"));
    let idle = crate::system::resident(args.get("server_pid"));
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let mut clients: Vec<C> = Vec::with_capacity(n);
    // A few at a time, so that connecting is not what is measured.
    for start in (0..n).step_by(50) {
        for id in start..(start + 50).min(n) {
            let mut args = args.clone();
            args.set("id", id + 1);
            let mut client = C::start(&args, true)?;
            client.flush()?;
            epoll.add(client.descriptor(), EpollEvent::new(EpollFlags::EPOLLIN, id as u64))?;
            clients.push(client);
        }
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            let mut connected = true;
            for client in &mut clients[start..] {
                client.turn(Duration::ZERO, &mut |_| {})?;
                connected &= client.is_connected();
            }
            if connected {
                break;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    let connected = clients.iter_mut().filter_map(|client| client.is_connected().then_some(())).count();
    let mut events = vec![EpollEvent::empty(); 512];
    let mut turn_ready = |clients: &mut Vec<C>, wait: u16, on: &mut dyn FnMut(&[u8])| -> Outcome<()> {
        let ready = epoll.wait(&mut events, EpollTimeout::from(wait))?;
        for event in &events[..ready] {
            let client = &mut clients[event.data() as usize];
            client.receive(on)?;
            client.flush()?;
        }
        Ok(())
    };
    if rate == 0.0 {
        // Idle: let a few heartbeats pass, then look at the server's memory.
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < end {
            turn_ready(&mut clients, 10, &mut |_| {})?;
            for client in &mut clients {
                if client.sleep().is_zero() {
                    client.turn(Duration::ZERO, &mut |_| {})?;
                }
            }
        }
        let grown = crate::system::resident(args.get("server_pid")).saturating_sub(idle);
        return Ok(Report::memory(
            grown as f64 / connected.max(1) as f64 / 1024.0,
            connected as f64 / n as f64,
        ));
    }
    let mut message = vec![0x5a; args.get("size")];
    let mode = Mode::of(args, "up");
    let meter = Meter::start(args);
    let start = Instant::now();
    let total = (rate * seconds * n as f64) as u64;
    // Evenly spread: message k of the crowd is due at k / (n * rate).
    let spacing = 1.0 / (rate * n as f64);
    let (mut offered, mut times) = (0u64, Vec::new());
    let mut housekeeping = 0;
    while start.elapsed().as_secs_f64() < seconds {
        let due = ((start.elapsed().as_secs_f64() / spacing) as u64).min(total);
        let burst = due.min(offered + 64);
        while offered < burst {
            let index = (offered % n as u64) as usize;
            let client = &mut clients[index];
            message[..8].copy_from_slice(&now_ns().to_le_bytes());
            client.send(&message, mode);
            client.flush()?;
            offered += 1;
        }
        let wait = u16::from(offered == due);
        turn_ready(&mut clients, wait, &mut |data| {
            times.push(now_ns().saturating_sub(number(data)) as f64 / 1e6);
        })?;
        // Timers of connections that hear nothing.
        for _ in 0..8 {
            housekeeping = (housekeeping + 1) % n;
            let client = &mut clients[housekeeping];
            if client.sleep().is_zero() {
                client.receive(&mut |data| times.push(now_ns().saturating_sub(number(data)) as f64 / 1e6))?;
                client.flush()?;
            }
        }
    }
    let used = meter.stop();
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        turn_ready(&mut clients, 5, &mut |data| {
            times.push(now_ns().saturating_sub(number(data)) as f64 / 1e6);
        })?;
    }
    let delivered = times.len() as f64 / offered.max(1) as f64;
    Ok(used.crowd(times.len(), delivered, offered as f64 / total.max(1) as f64, quantile(&mut times, 0.99)))
}

/// For servers that own a descriptor somewhere inside.
pub fn fd_of(socket: &std::net::UdpSocket) -> BorrowedFd<'_> {
    socket.as_fd()
}
