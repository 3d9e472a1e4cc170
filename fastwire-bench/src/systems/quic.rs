//! quinn: streams where messages are reliable, datagrams where they are not, AES-128-GCM like everybody.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::congestion::BbrConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::time::sleep_until;

use super::stream;
use crate::behaviour::progress;
use crate::report::{Meter, Report};
use crate::system::{Args, MTU, Outcome, now_ns, udp};

/// Windows that 256 MiB in one stream do not wait for.
const STREAM_WINDOW: u32 = 16 << 20;

fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

fn transport(args: &Args) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .initial_mtu(MTU as u16)
        .mtu_discovery_config(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(u64::from(STREAM_WINDOW))
        .datagram_receive_buffer_size(Some(4 << 20))
        .datagram_send_buffer_size(1 << 20);
    if args.text("system") == "quinn-bbr" {
        config.congestion_controller_factory(Arc::new(BbrConfig::default()));
    }
    Arc::new(config)
}

pub async fn serve(args: &Args) -> Outcome<()> {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())?;
    tls.max_early_data_size = u32::MAX;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport(args)).max_incoming(65_536);
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), udp()?, Arc::new(TokioRuntime))?;
    println!("{}", endpoint.local_addr()?.port());
    let server = stream::Server::new(args);
    let accepting = server.clone();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let server = accepting.clone();
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else { return };
                tokio::spawn(answer_datagrams(connection.clone(), server.clone()));
                while let Ok((write, read)) = connection.accept_bi().await {
                    server.serve(read, write);
                }
            });
        }
    });
    server.until_stopped().await
}

async fn answer_datagrams(connection: Connection, server: stream::Server) {
    let mut reply = Vec::new();
    while let Ok(data) = connection.read_datagram().await {
        if server.on_message(&data, &mut reply) {
            let _ = connection.send_datagram(Bytes::copy_from_slice(&reply));
        }
    }
}

fn client(args: &Args) -> Outcome<Endpoint> {
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport(args));
    let mut endpoint = Endpoint::new(EndpointConfig::default(), None, udp()?, Arc::new(TokioRuntime))?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

async fn connect(endpoint: Endpoint, args: Args) -> Outcome<Connection> {
    Ok(endpoint.connect(args.server()?, "localhost")?.await?)
}

pub async fn drive(args: &Args) -> Outcome<Report> {
    let endpoint = client(args)?;
    match args.text("work") {
        "flood" => flood(args, connect(endpoint, args.clone()).await?).await,
        "crowd" => crowd(args, endpoint).await,
        "handshakes" => handshakes(args, endpoint).await,
        _ => {
            let open = |args: Args| {
                let endpoint = endpoint.clone();
                async move {
                    let connection = connect(endpoint, args).await?;
                    let (write, read) = connection.open_bi().await?;
                    let mut ends = stream::Ends::new(read, write);
                    ends.keep = Some(Box::new(connection));
                    Ok(ends)
                }
            };
            stream::drive(args, open).await
        }
    }
}

async fn flood(args: &Args, connection: Connection) -> Outcome<Report> {
    let (size, window): (usize, u64) = (args.get("size"), args.get("window"));
    let mut message = vec![0x5a; size];
    let (mut sent, mut newest, mut arrived, mut heard) = (1u64, 0u64, 0u64, Instant::now());
    let meter = Meter::start(args);
    let end = Instant::now() + Duration::from_secs_f64(args.get("seconds"));
    let hear = |data: &[u8], newest: &mut u64, arrived: &mut u64| {
        let told = progress(data);
        (*newest, *arrived) = ((*newest).max(told.0), (*arrived).max(told.1));
    };
    while Instant::now() < end {
        while sent - newest < window && connection.datagram_send_buffer_space() > 2 * size {
            message[..8].copy_from_slice(&sent.to_le_bytes());
            connection.send_datagram(Bytes::copy_from_slice(&message))?;
            sent += 1;
        }
        let before = arrived;
        // Either an answer comes, or the send buffer gets room.
        tokio::select! {
            data = connection.read_datagram() => hear(&data?, &mut newest, &mut arrived),
            () = tokio::time::sleep(Duration::from_millis(1)), if sent - newest >= window => {}
            () = tokio::task::yield_now(), if sent - newest < window => {}
        }
        if arrived > before {
            heard = Instant::now();
        } else if heard.elapsed() > Duration::from_millis(100) {
            (newest, heard) = (sent - 1, Instant::now());
        }
    }
    let report = meter.flood(arrived);
    let quiet = Duration::from_millis(300);
    while newest + 1 < sent {
        let Ok(Ok(data)) = tokio::time::timeout(quiet, connection.read_datagram()).await else { break };
        hear(&data, &mut newest, &mut arrived);
    }
    let unannounced = args.get::<u64>("every").min((sent - 1).saturating_sub(newest));
    Ok(report.delivered((arrived + unannounced) as f64 / (sent - 1).max(1) as f64))
}

async fn crowd(args: &Args, endpoint: Endpoint) -> Outcome<Report> {
    let size: usize = args.get("size");
    stream::crowd_of(
        args,
        |args| connect(endpoint.clone(), args),
        move |connection, schedule, tally| async move {
            let mut message = vec![0x5a; size];
            let mut due = schedule.first;
            loop {
                tokio::select! {
                    () = sleep_until(due), if due < schedule.end => {
                        message[..8].copy_from_slice(&now_ns().to_le_bytes());
                        tally.offered.fetch_add(1, Ordering::Relaxed);
                        if connection.send_datagram(Bytes::copy_from_slice(&message)).is_err() {
                            break;
                        }
                        due += schedule.period;
                    }
                    data = connection.read_datagram() => match data {
                        Ok(data) => tally.answer(&data),
                        Err(_) => break,
                    }
                }
            }
        },
    )
    .await
}

async fn handshakes(args: &Args, endpoint: Endpoint) -> Outcome<Report> {
    let count: usize = args.get("count");
    let meter = Meter::start(args);
    if args.text("case") == "at once" {
        let tasks: Vec<_> =
            (0..count).map(|_| tokio::spawn(connect(endpoint.clone(), args.clone()))).collect();
        let mut connections = Vec::new();
        for task in tasks {
            connections.extend(task.await?);
        }
        return Ok(meter.handshakes_at_once(connections.len(), count));
    }
    let mut times = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        let connection = connect(endpoint.clone(), args.clone()).await?;
        times.push(started.elapsed().as_nanos() as f64 / 1e3);
        drop(connection);
    }
    Ok(meter.handshakes_in_turn(&mut times))
}

/// Takes any certificate, as a client does that knows nothing of its server. FastWire's base profile does the same.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &rustls::crypto::ring::default_provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
