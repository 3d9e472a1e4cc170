//! Recorded traces, replayed call by call: each endpoint alone, fed its own calls. Those of the C KCP 1.7.1 give the same
//! datagrams and state; those of every other implementation deliver the same messages.

use crate::recorded::is_own_copy;
use fastwire_kcp::core::{Config, HEADER_LEN, Header, Kcp, NoDelay, Origin, RecvError, Timing};
use fastwire_testkit::vectors::{cases, hex, kcp_traces, number};
use serde_json::Value;
use std::collections::HashMap;

#[test]
fn classic_timing_replays_the_recorded_vectors_call_by_call() {
    let (mut endpoints, mut calls) = (0, 0);
    for (name, trace) in kcp_traces() {
        let conv = number(&trace["conv"]) as u32;
        let fields: Vec<&str> = cases(&trace["state_fields"]).iter().filter_map(Value::as_str).collect();
        for (r, run) in cases(&trace["runs"]).iter().enumerate() {
            for end in ["a", "b"] {
                if run[end] == "c" {
                    let at = format!("{name} run {r} endpoint {end}");
                    calls += Replay::new(conv, at).run(end, run, &fields);
                    endpoints += 1;
                }
            }
        }
    }
    println!("{endpoints} endpoints, {calls} calls replayed");
    assert!(calls > 1000 || !is_own_copy());
}

/// Whoever recorded it: what an endpoint was fed is taken or refused here as it was there, and its reader gets the same
/// messages at the same calls.
#[test]
fn the_vectors_of_every_implementation_deliver_the_same() {
    let (mut endpoints, mut messages, mut segments) = (0, 0, 0);
    for (name, trace) in kcp_traces() {
        let conv = number(&trace["conv"]) as u32;
        let fields: Vec<&str> = cases(&trace["state_fields"]).iter().filter_map(Value::as_str).collect();
        let before = endpoints;
        for (r, run) in cases(&trace["runs"]).iter().enumerate() {
            for end in ["a", "b"] {
                let kind = run[end].as_str().expect("an implementation");
                let at = format!("{name} run {r} endpoint {end} ({kind})");
                // The C core has a least receive window, the Go core another default.
                let config = match kind {
                    "kcp-go" => Config { rcv_wnd: 32, timing: Timing::Prompt, ..Config::default() },
                    _ => Config::classic(),
                };
                let replay = Replay { kcp: Kcp::new(conv, config), at, state: HashMap::new() };
                messages += replay.receive(end, run, &fields);
                endpoints += 1;
            }
            for datagram in cases(&run["steps"]).iter().filter_map(|step| step["out"].as_array()).flatten() {
                segments += encodes_again(&hex(datagram));
            }
        }
        assert!(endpoints > before, "{name} was not read");
    }
    println!("{endpoints} endpoints, {messages} messages, {segments} segments");
    assert!(messages > 1000 && segments > messages || !is_own_copy());
}

/// Segments of a recorded datagram, each of which is read and written to the same bytes.
fn encodes_again(datagram: &[u8]) -> usize {
    let (mut rest, mut count) = (datagram, 0);
    while let Some((head, tail)) = rest.split_first_chunk::<HEADER_LEN>() {
        let header = Header::decode(head).expect("a known command");
        assert_eq!(&header.encode(), head);
        rest = tail.get(header.len as usize..).expect("a whole segment");
        count += 1;
    }
    assert!(rest.is_empty());
    count
}

/// Datagrams of both ends by the number under which the other end's input names them.
type Emitted<'a> = HashMap<&'a str, Vec<Vec<u8>>>;

/// The bytes of an input step.
fn incoming(step: &Value, end: &str, sent: &Emitted<'_>) -> Vec<u8> {
    let other = if end == "a" { "b" } else { "a" };
    step["dg"].as_u64().map_or_else(|| hex(&step["data"]), |n| sent[other][n as usize].clone())
}

fn emitted(step: &Value) -> Vec<Vec<u8>> {
    step["out"].as_array().map_or_else(Vec::new, |out| out.iter().map(hex).collect())
}

struct Replay {
    kcp: Kcp,
    /// Where the replay is, for messages.
    at: String,
    /// Highest version of the state seen, for fields given only when changed.
    state: HashMap<String, i64>,
}

impl Replay {
    fn new(conv: u32, at: String) -> Self {
        Self { kcp: Kcp::new(conv, Config::classic()), at, state: HashMap::new() }
    }

    fn run(mut self, end: &str, run: &Value, fields: &[&str]) -> usize {
        let mut sent = Emitted::new();
        let mut calls = 0;
        for (i, step) in cases(&run["steps"]).iter().enumerate() {
            let e = step["e"].as_str().expect("an endpoint");
            let recorded = emitted(step);
            if e == end {
                let data = if step["op"] == "input" { incoming(step, end, &sent) } else { Vec::new() };
                let out = self.call(step, &data, i);
                assert_eq!(out, recorded, "{} step {i}: {} at {}", self.at, step["op"], step["t"]);
                self.compare_state(step, fields, i);
                calls += 1;
            }
            sent.entry(e).or_default().extend(recorded);
        }
        calls
    }

    fn call(&mut self, step: &Value, data: &[u8], i: usize) -> Vec<Vec<u8>> {
        let kcp = &mut self.kcp;
        let at = format!("{} step {i}", self.at);
        let now = number(&step["t"]) as u32;
        let arg = |n: usize| step["args"][n].as_i64().expect("an argument");
        let ret = step["ret"].as_i64();
        let mut out = Vec::new();
        match step["op"].as_str().expect("an operation") {
            "wndsize" => {
                // The C call ignores what is not positive, one by one.
                let keep = |given: i64, kept: u32| if given > 0 { given as u32 } else { kept };
                let (send, receive) =
                    (keep(arg(0), kcp.config().snd_wnd), keep(arg(1), kcp.config().rcv_wnd));
                kcp.set_window(send, receive).expect("positive windows");
            }
            "nodelay" => {
                let old = kcp.config().nodelay;
                let keep = |n: usize, kept: u32| u32::try_from(arg(n)).unwrap_or(kept);
                kcp.set_nodelay(NoDelay {
                    level: keep(0, old.level),
                    interval: keep(1, old.interval),
                    resend: keep(2, old.resend),
                    congestion: if arg(3) < 0 { old.congestion } else { arg(3) == 0 },
                });
            }
            "setmtu" => {
                let result = usize::try_from(arg(0)).map(|mtu| kcp.set_mtu(mtu));
                assert_eq!(matches!(result, Ok(Ok(()))), ret == Some(0), "{at}");
            }
            "set" => {
                let value = step["value"].as_i64().expect("a value") as u32;
                match step["name"].as_str().expect("a name") {
                    "stream" => kcp.set_stream(value != 0),
                    "dead_link" => kcp.set_dead_link(value),
                    "snd_nxt" => kcp.start_at(value, kcp.numbers().2),
                    "rcv_nxt" => kcp.start_at(kcp.numbers().1, value),
                    name => panic!("{at}: unknown setting {name}"),
                }
            }
            "send" => {
                let result = kcp.send(&hex(&step["data"])).map_or(-2, |count| count as i64);
                assert_eq!(Some(result), ret, "{at}: send");
            }
            "input" => {
                let result = kcp.input(now, data, Origin::Direct);
                assert_eq!(result.is_ok(), ret == Some(0), "{at}: {result:?}");
            }
            "update" => kcp.update(now, &mut out),
            "flush" => kcp.flush(&mut out),
            "recv" => {
                let mut buffer = vec![0; arg(0) as usize];
                let result = kcp.recv(&mut buffer);
                let code = match result {
                    Ok(len) => len as i64,
                    Err(RecvError::Empty) => -1,
                    Err(RecvError::Incomplete) => -2,
                    Err(_) => -3,
                };
                assert_eq!(Some(code), ret, "{at}: recv");
                if let Ok(len) = result {
                    assert_eq!(buffer[..len], step.get("got").map_or_else(Vec::new, hex), "{at}: recv");
                }
            }
            "peeksize" => assert_eq!(Some(kcp.peek_size().map_or(-1, |len| len as i64)), ret, "{at}"),
            "waitsnd" => assert_eq!(Some(kcp.waiting() as i64), ret, "{at}"),
            op => panic!("{at}: unknown operation {op}"),
        }
        if let Some(check) = step["check"].as_u64() {
            assert_eq!(kcp.check(now).map(|wait| now.wrapping_add(wait)), Some(check as u32), "{at}: check");
        }
        out
    }

    /// The receiving calls alone; how many messages were read.
    fn receive(mut self, end: &str, run: &Value, fields: &[&str]) -> usize {
        let mut sent = Emitted::new();
        let mut messages = 0;
        for (i, step) in cases(&run["steps"]).iter().enumerate() {
            let e = step["e"].as_str().expect("an endpoint");
            sent.entry(e).or_default().extend(emitted(step));
            if e != end {
                continue;
            }
            let at = format!("{} step {i}", self.at);
            let arg = |n: usize| step["args"][n].as_i64().expect("an argument");
            let kcp = &mut self.kcp;
            match step["op"].as_str().expect("an operation") {
                "wndsize" if arg(1) > 0 => kcp.set_window(1, arg(1) as u32).expect("a positive window"),
                "set" if step["name"] == "rcv_nxt" => {
                    kcp.start_at(0, step["value"].as_i64().expect("a value") as u32);
                }
                "input" => {
                    let origin = if step["fec"] == true { Origin::Recovered } else { Origin::Direct };
                    let result = kcp.input(number(&step["t"]) as u32, &incoming(step, end, &sent), origin);
                    assert_eq!(result.is_ok(), step["ret"] == 0, "{at}: {result:?}");
                }
                "recv" => {
                    let mut buffer = vec![0; arg(0) as usize];
                    let got = kcp.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec());
                    let read = step["ret"].as_i64().is_some_and(|code| code >= 0);
                    let recorded = read.then(|| step.get("got").map_or_else(Vec::new, hex));
                    assert_eq!(got, recorded, "{at}: recv");
                    messages += usize::from(read);
                }
                "peeksize" => {
                    let size = kcp.peek_size().map_or(-1, |len| len as i64);
                    assert_eq!(size, step["ret"].as_i64().expect("a code").max(-1), "{at}: peeksize");
                }
                _ => {}
            }
            self.note_state(step, fields);
            let (_, _, expected) = self.kcp.numbers();
            let (_, _, ready, ahead, _) = self.kcp.queues();
            let ours =
                [("rcv_nxt", i64::from(expected)), ("rcv_queue", ready as i64), ("rcv_buf", ahead as i64)];
            self.compare(&ours, step, i);
        }
        messages
    }

    fn note_state(&mut self, step: &Value, fields: &[&str]) {
        if let Some(values) = step["state"].as_array() {
            for (field, value) in fields.iter().zip(values) {
                self.state.insert((*field).to_owned(), value.as_i64().expect("a figure"));
            }
        }
    }

    fn compare_state(&mut self, step: &Value, fields: &[&str], i: usize) {
        self.note_state(step, fields);
        let kcp = &self.kcp;
        let (una, next, expected) = kcp.numbers();
        let (srtt, rttvar, rto) = kcp.rtt();
        let (cwnd, remote) = kcp.windows();
        let (queued, in_flight, ready, ahead, acks) = kcp.queues();
        let ours = [
            ("snd_una", i64::from(una)),
            ("snd_nxt", i64::from(next)),
            ("rcv_nxt", i64::from(expected)),
            ("srtt", i64::from(srtt)),
            ("rttvar", i64::from(rttvar)),
            ("rto", i64::from(rto)),
            ("cwnd", i64::from(cwnd)),
            ("rmt_wnd", i64::from(remote)),
            ("snd_queue", queued as i64),
            ("snd_buf", in_flight as i64),
            ("rcv_queue", ready as i64),
            ("rcv_buf", ahead as i64),
            ("acks_pending", acks as i64),
        ];
        self.compare(&ours, step, i);
    }

    fn compare(&self, ours: &[(&str, i64)], step: &Value, i: usize) {
        for &(name, value) in ours {
            if let Some(&recorded) = self.state.get(name) {
                assert_eq!(value, recorded, "{} step {i} ({}): {name}", self.at, step["op"]);
            }
        }
    }
}
