//! Event logs of connections: one file each, of JSON records, with the names of qlog where they fit.
//!
//! The file format is JSON text sequences as draft-ietf-quic-qlog-main-schema describes (RFC 7464: each record between a record
//! separator and a line end), the names of events and fields are those of draft-ietf-quic-qlog-quic-events, in a namespace of
//! their own: `fastwire:packet_sent` and so on. Times are milliseconds since the connection began.
//!
//! A log holds no message and no key, but sizes, times and addresses: treat it like a capture.
//!
//! ```
//! use fastwire::{Server, qlog};
//!
//! # fn main() -> std::io::Result<()> {
//! # let folder = std::env::temp_dir().join(format!("fastwire-qlog-{}", std::process::id()));
//! let builder = Server::builder().observers(qlog::into_folder(&folder)?);
//! # drop(builder);
//! # std::fs::remove_dir_all(folder)?;
//! # Ok(())
//! # }
//! ```

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastwire_wire::extended::{Ack, Data, Frame, Frames};
use fastwire_wire::{ControlType, FragmentFlags, FragmentHeader, PacketFlags, PacketHeader};
use serde_json::{Value, json};

use crate::identity::push_hex;
use crate::observe::{Metrics, Observed, Observer, Observers, PacketView, Subject};
use crate::{DisconnectReason, Profile};

/// What begins a record (RFC 7464 §2.2).
const RECORD_SEPARATOR: u8 = 0x1e;

/// Writes the log of each connection into a file of its own in `folder`, which is made if it is not there: `server-` or
/// `client-`, Unix milliseconds, a running number, `.sqlog`. A file that cannot be made is a warning in the log.
///
/// # Errors
/// The folder cannot be made.
pub fn into_folder(folder: impl AsRef<Path>) -> io::Result<Observers> {
    let folder = folder.as_ref().to_owned();
    fs::create_dir_all(&folder)?;
    let count = AtomicU64::new(0);
    Ok(Observers::new(move |subject| {
        let side = if subject.is_server { "server" } else { "client" };
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let path = folder.join(format!("{side}-{unix}-{}.sqlog", count.fetch_add(1, Ordering::Relaxed)));
        match File::create_new(&path) {
            Ok(file) => Some(Box::new(EventLog::new(BufWriter::new(file), subject))),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "no event log is written");
                None
            }
        }
    }))
}

/// The log of one connection, into anything that takes bytes.
#[derive(Debug)]
pub struct EventLog<W: Write + Send> {
    out: W,
    began: Instant,
    /// The writer failed: nothing more is tried.
    broken: bool,
}

impl<W: Write + Send> EventLog<W> {
    /// Begins with the header record and the event `connection_started`.
    pub fn new(out: W, subject: &Subject) -> Self {
        let mut log = Self { out, began: subject.at, broken: false };
        let vantage = if subject.is_server { "server" } else { "client" };
        log.record(&json!({
            "file_schema": "urn:ietf:params:qlog:file:sequential",
            "serialization_format": "application/qlog+json-seq",
            "title": format!("connection {}", subject.connection),
            "trace": {
                "common_fields": {
                    "time_format": "relative_to_epoch",
                    "reference_time": { "clock_type": "monotonic", "epoch": "unknown" },
                },
                "vantage_point": { "type": vantage },
                "event_schemas": ["urn:fastwire:qlog:events"],
            },
        }));
        let remote = json!({ "ip": subject.remote.ip().to_string(), "port": subject.remote.port() });
        log.event(subject.at, "connection_started", &json!({ "remote": remote }));
        log
    }

    fn event(&mut self, at: Instant, name: &str, data: &Value) {
        let time = milliseconds(at.saturating_duration_since(self.began));
        self.record(&json!({ "time": time, "name": format!("fastwire:{name}"), "data": data }));
    }

    fn record(&mut self, record: &Value) {
        if self.broken {
            return;
        }
        let mut text = vec![RECORD_SEPARATOR];
        text.extend_from_slice(record.to_string().as_bytes());
        text.push(b'\n');
        if let Err(error) = self.out.write_all(&text) {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        tracing::warn!(%error, "an event log ends early");
        self.broken = true;
    }
}

impl<W: Write + Send> Observer for EventLog<W> {
    fn observe(&mut self, at: Instant, what: &Observed<'_>) {
        match what {
            Observed::HandshakeSent { kind, bytes } => {
                self.event(at, "packet_sent", &handshake(*kind, *bytes))
            }
            Observed::HandshakeReceived { kind, bytes } => {
                self.event(at, "packet_received", &handshake(*kind, *bytes));
            }
            Observed::Established { profile } => {
                let profile = if *profile == Profile::Extended { "extended" } else { "base" };
                let data = json!({ "old": "attempted", "new": "handshake_complete", "profile": profile });
                self.event(at, "connection_state_updated", &data);
            }
            Observed::PacketSent { packet, bytes } => self.event(at, "packet_sent", &shown(packet, *bytes)),
            Observed::PacketReceived { packet, bytes } => {
                self.event(at, "packet_received", &shown(packet, *bytes));
            }
            // no qlog event says this: it was never received, and is not lost
            Observed::PacketRecovered { packet } => self.event(at, "packet_recovered", &shown(packet, 0)),
            Observed::PacketDropped { replayed, bytes } => {
                let trigger = if *replayed { "duplicate" } else { "decryption_failure" };
                self.event(at, "packet_dropped", &json!({ "trigger": trigger, "raw": { "length": bytes } }));
            }
            Observed::Lost { numbers: [], packets, bytes } => {
                self.event(at, "packet_lost", &json!({ "count": packets, "raw": { "length": bytes } }));
            }
            Observed::Lost { numbers, .. } => {
                for number in *numbers {
                    let header = json!({ "packet_type": "short", "packet_number": number });
                    self.event(at, "packet_lost", &json!({ "count": 1, "header": header }));
                }
            }
            Observed::Congestion { persistent } => {
                let trigger = if *persistent { "persistent_congestion" } else { "packet_loss" };
                let data = json!({ "new": "recovery", "trigger": trigger });
                self.event(at, "congestion_state_updated", &data);
            }
            Observed::Spurious { packets } => {
                self.event(at, "spurious_loss", &json!({ "count": packets }));
            }
            Observed::Metrics(metrics) => self.event(at, "recovery_metrics_updated", &measured(metrics)),
            Observed::Moved { remote } => {
                let remote = json!({ "ip": remote.ip().to_string(), "port": remote.port() });
                let data = json!({ "new": "migration_complete", "remote": remote });
                self.event(at, "migration_state_updated", &data);
            }
            Observed::MessageQueued { channel, bytes } => {
                let data = json!({ "stream_id": channel, "length": bytes, "from": "application", "to": "transport" });
                self.event(at, "stream_data_moved", &data);
            }
            Observed::MessageDelivered { channel, bytes } => {
                let data = json!({ "stream_id": channel, "length": bytes, "from": "transport", "to": "application" });
                self.event(at, "stream_data_moved", &data);
            }
            Observed::Failed(error) => {
                self.event(at, "connection_failed", &json!({ "reason": error.to_string() }));
            }
            Observed::Closed { reason } => {
                let reason = reason.as_ref().map_or("not connected".to_owned(), DisconnectReason::to_string);
                self.event(at, "connection_closed", &json!({ "reason": reason }));
                if let Err(error) = self.out.flush() {
                    self.give_up(&error);
                }
            }
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn handshake(kind: ControlType, bytes: usize) -> Value {
    json!({ "header": { "packet_type": control_name(kind) }, "raw": { "length": bytes } })
}

fn control_name(kind: ControlType) -> &'static str {
    match kind {
        ControlType::Connect => "connect",
        ControlType::Challenge => "challenge",
        ControlType::Response => "response",
        ControlType::Connected => "connected",
        ControlType::Disconnect => "connection_close",
        ControlType::Heartbeat => "heartbeat",
        ControlType::VersionMismatch => "version_mismatch",
        ControlType::Reject => "reject",
        _ => "unknown",
    }
}

fn measured(metrics: &Metrics) -> Value {
    json!({
        "smoothed_rtt": milliseconds(metrics.rtt),
        "rtt_variance": milliseconds(metrics.rtt_variance),
        "latest_rtt": milliseconds(metrics.latest_rtt),
        "min_rtt": milliseconds(metrics.min_rtt),
        "congestion_window": metrics.congestion_window.map(|packets| u64::from(packets) * 1200),
        "bytes_in_flight": metrics.bytes_in_flight,
        "packets_in_flight": metrics.packets_in_flight,
        // qlog counts bits
        "pacing_rate": metrics.pacing_rate.map(|rate| rate.saturating_mul(8)),
    })
}

fn shown(packet: &PacketView<'_>, bytes: usize) -> Value {
    let (header, frames) = match packet {
        PacketView::Extended { number, frames } => {
            (json!({ "packet_type": "short", "packet_number": number }), extended_frames(frames))
        }
        PacketView::Base { header, fragment, payload } => (
            json!({ "packet_type": "sealed", "channel": header.channel, "packet_number": header.sequence }),
            base_frames(header, fragment.as_ref(), payload),
        ),
    };
    json!({ "header": header, "raw": { "length": bytes }, "frames": frames })
}

/// A packet of the base profile as if it had frames: what it acknowledges, and what it carries.
fn base_frames(header: &PacketHeader, fragment: Option<&FragmentHeader>, payload: &[u8]) -> Vec<Value> {
    let mut frames = Vec::new();
    if header.ack > 0 {
        let below = (0..32).filter(|bit| header.ack_field >> bit & 1 == 1).map(|bit| bit + 1);
        let ranges = ranges(header.ack, std::iter::once(0).chain(below));
        frames.push(json!({ "frame_type": "ack", "stream_id": header.channel, "acked_ranges": ranges }));
    }
    if header.flags.contains(PacketFlags::CONTROL) {
        let kind = payload.first().and_then(|id| ControlType::from_id(*id));
        frames.push(json!({ "frame_type": kind.map_or("unknown", control_name) }));
    } else {
        let mut frame = json!({
            "frame_type": "data", "stream_id": header.channel, "sequence": header.sequence,
            "raw": { "payload_length": payload.len() },
        });
        if let Some(fragment) = fragment {
            let FragmentHeader { id, index, count, .. } = fragment;
            frame["fragment"] = json!({ "id": id, "index": index, "count": count });
        }
        frames.push(frame);
    }
    frames
}

fn extended_frames(plain: &[u8]) -> Vec<Value> {
    let mut shown = Vec::new();
    let mut padding = 0;
    let Ok(frames) = Frames::new(plain) else { return shown };
    for frame in frames.map_while(Result::ok) {
        match frame {
            Frame::Pad => padding += 1,
            frame => shown.push(extended_frame(&frame)),
        }
    }
    if padding > 0 {
        shown.push(json!({ "frame_type": "padding", "raw": { "payload_length": padding } }));
    }
    shown
}

fn extended_frame(frame: &Frame<'_>) -> Value {
    match frame {
        Frame::Ping => json!({ "frame_type": "ping" }),
        Frame::Ack(ack) => acknowledgement(ack),
        Frame::Data(data) => message(data),
        Frame::Connected { cid, .. } => json!({ "frame_type": "connected", "connection_id": hex(cid) }),
        Frame::Disconnect(end) => json!({
            "frame_type": "connection_close", "error_code": end.reason, "application_error": end.code,
            "reason": end.message,
        }),
        Frame::PathChallenge(data) => json!({ "frame_type": "path_challenge", "data": hex(data) }),
        Frame::PathResponse(data) => json!({ "frame_type": "path_response", "data": hex(data) }),
        Frame::Credit { channel, limit } => {
            json!({ "frame_type": "max_stream_data", "stream_id": channel, "maximum": limit })
        }
        Frame::NewCid { sequence, cid } => json!({
            "frame_type": "new_connection_id", "sequence_number": sequence, "connection_id": hex(cid),
        }),
        Frame::Fin { channel, message } => {
            json!({ "frame_type": "fin", "stream_id": channel, "message": message })
        }
        Frame::Reset { channel, message, consumed, code } => json!({
            "frame_type": "reset_stream", "stream_id": channel, "message": message, "final_size": consumed,
            "error_code": code,
        }),
        Frame::TimeAsk { mark } => json!({ "frame_type": "time_ask", "mark": mark }),
        Frame::Time { mark, time } => json!({ "frame_type": "time", "mark": mark, "time": time }),
        other => json!({ "frame_type": "unknown", "text": format!("{other:?}") }),
    }
}

fn acknowledgement(ack: &Ack<'_>) -> Value {
    json!({
        "frame_type": "ack",
        "ack_delay": f64::from(ack.delay) / 2.0,
        // the low 32 bits of packet numbers, as they travel
        "acked_ranges": ranges(ack.largest, ack.numbers()),
    })
}

fn message(data: &Data<'_>) -> Value {
    let mut frame = json!({
        "frame_type": "data", "stream_id": data.channel, "message": data.message,
        "raw": { "payload_length": data.payload.len() },
    });
    if let Some(piece) = data.piece {
        frame["offset"] = json!(piece.offset);
        frame["total"] = json!(piece.total);
    }
    let content = FragmentFlags::from_bits(data.content);
    for (flag, name) in [(FragmentFlags::COMPRESSED, "compressed"), (FragmentFlags::STAMPED, "stamped")] {
        if content.contains(flag) {
            frame[name] = json!(true);
        }
    }
    frame
}

/// Ranges of acknowledged numbers, highest first, each `[low, high]`. `below`: distances from `largest`, rising.
fn ranges(largest: u32, below: impl Iterator<Item = u32>) -> Vec<[u32; 2]> {
    let mut ranges: Vec<[u32; 2]> = Vec::new();
    for number in below.map(|distance| largest.wrapping_sub(distance)) {
        match ranges.last_mut() {
            Some([low, _]) if *low == number.wrapping_add(1) => *low = number,
            _ => ranges.push([number, number]),
        }
    }
    ranges
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push_hex(&mut text, bytes);
    text
}
