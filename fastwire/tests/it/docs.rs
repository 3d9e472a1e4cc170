//! The documents say what is: the worked example of PROTOCOL.md is taken apart, links to headings lead
//! somewhere, and the guide names every field.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fastwire::crypto::{
    Aead, CipherSuite, KeyAgreement, KeyPair, Opener, Prk, PublicKey, derive_session_keys,
};
use fastwire::wire::{
    BatchReader, Control, Features, FragmentFlags, FragmentHeader, PacketFlags, PacketHeader,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of PROTOCOL.md fenced as `hex NAME`.
fn examples() -> BTreeMap<String, Vec<u8>> {
    let text = read(&root().join("PROTOCOL.md"));
    let mut lines = text.lines();
    let mut blocks = BTreeMap::new();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```hex ") else { continue };
        let digits: String = lines.by_ref().take_while(|line| *line != "```").collect();
        let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let nibble = |byte: u8| (byte as char).to_digit(16).expect("a hex digit") as u8;
        let bytes = digits.chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect();
        blocks.insert(name.to_owned(), bytes);
    }
    blocks
}

fn key(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().expect("32 bytes")
}

/// Opens a sealed packet with a fresh opener.
fn open(suite_key: &[u8], packet: &[u8]) -> Vec<u8> {
    let aead = Aead::new(CipherSuite::Aes128Gcm, suite_key).expect("a key of 16 bytes");
    let mut packet = packet.to_vec();
    let opened = Opener::new(aead).open(&mut packet).expect("a packet that opens");
    packet[opened.range].to_vec()
}

#[test]
fn the_worked_example_of_protocol_md_is_true() {
    let blocks = examples();
    let block = |name: &str| blocks.get(name).unwrap_or_else(|| panic!("no block `hex {name}`")).as_slice();

    let client = KeyPair::from_secret(key(block("client_private")));
    let server = KeyPair::from_secret(key(block("server_private")));
    let (connect, _) = Control::decode(&block("connect")[8..]).expect("CONNECT");
    let Control::Connect(connect) = connect else { panic!("{connect:?}") };
    assert_eq!(block("connect").len(), 48);
    assert_eq!((connect.version, connect.application_version, connect.cipher), (1, 0, 1));
    assert_eq!((connect.compression, connect.dictionary_hash, connect.features), (0, None, Features::EMPTY));
    assert_eq!(connect.public_key, *client.public().as_bytes());

    let (challenge, _) = Control::decode(&block("challenge")[8..]).expect("CHALLENGE");
    let Control::Challenge(challenge) = challenge else { panic!("{challenge:?}") };
    assert_eq!(block("challenge").len(), 79);
    assert_eq!((challenge.cipher, challenge.compression_ack, challenge.features), (1, 0, Features::EMPTY));
    assert_eq!(challenge.public_key, *server.public().as_bytes());

    let shared = client.agree(&PublicKey::from(challenge.public_key)).expect("a good key");
    assert_eq!(shared.as_bytes().as_slice(), block("shared"));
    let prk = Prk::extract(&challenge.token, block("shared"));
    let mut c2s = [0; 16];
    prk.expand(&[b"c2s"], &mut c2s).expect("16 bytes");
    assert_eq!(c2s, block("key_c2s"));
    let mut from_prk = [0; 16];
    Prk::from_bytes(key(block("prk"))).expand(&[b"c2s"], &mut from_prk).expect("16 bytes");
    assert_eq!(from_prk, c2s, "the prk printed is the prk used");
    let keys = derive_session_keys(&server, &client.public(), &challenge.token, CipherSuite::Aes128Gcm)
        .expect("a good key");
    assert_eq!((keys.c2s(), keys.s2c()), (block("key_c2s"), block("key_s2c")));

    assert_eq!(block("response").len(), 65);
    for (packet, plaintext, key) in [
        ("response", "response_plaintext", keys.c2s()),
        ("data", "data_plaintext", keys.c2s()),
        ("ack", "ack_plaintext", keys.s2c()),
    ] {
        assert_eq!(open(key, block(packet)), block(plaintext), "{packet}");
    }
    let (header, len) = PacketHeader::decode(block("data_plaintext")).expect("a header");
    assert_eq!((header.channel, header.sequence, header.ack, header.ack_field), (0, 1, 0, 0));
    assert_eq!(&block("data_plaintext")[len..], b"hello from client on 0");
    let (header, len) = PacketHeader::decode(block("ack_plaintext")).expect("a header");
    assert_eq!((header.flags, header.ack), (PacketFlags::CONTROL, 1));
    assert_eq!(Control::decode(&block("ack_plaintext")[len..]).expect("control").0, Control::Heartbeat);
}

#[test]
fn the_batched_example_of_protocol_md_is_true() {
    let blocks = examples();
    let datagram = blocks["batched"].as_slice();
    let packets: Vec<_> = BatchReader::new(&datagram[8..]).expect("a batch frame").collect();
    assert_eq!(packets.len(), 1);
    let plain = open(&blocks["batched_key"], packets[0]);
    assert!(plain.starts_with(&blocks["batched_plaintext_head"]));
    let (header, len) = PacketHeader::decode(&plain).expect("a header");
    assert_eq!((header.flags, header.channel, header.sequence), (PacketFlags::FRAGMENT, 1, 2));
    let (fragment, _) = FragmentHeader::decode(&plain[len..]).expect("a fragment header");
    assert_eq!((fragment.id, fragment.index, fragment.count), (1, 0, 1));
    assert_eq!(fragment.flags, FragmentFlags::COMPRESSED | FragmentFlags::ZSTD);
}

/// Every link to a heading names one that is there. (That files are there, `cargo xtask ci house` checks.)
#[test]
fn links_to_headings_lead_somewhere() {
    let root = root();
    let mut documents: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "PROTOCOL.md"].map(|name| root.join(name)).into();
    let entries = std::fs::read_dir(root.join("docs")).expect("docs/");
    let files = entries.map(|entry| entry.expect("an entry").path());
    documents.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    let mut links = 0;
    for document in documents {
        let text = read(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((file, anchor)) = link.split_once('#').filter(|_| !link.contains("://")) else {
                continue;
            };
            let target = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            let found = read(&target).lines().filter_map(heading).any(|heading| heading == anchor);
            assert!(found, "{}: no heading for {link}", document.display());
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
}

/// The guide names every field of the configuration, the limits and the figures of a connection.
#[test]
fn the_guide_names_every_field() {
    let guide = read(&root().join("docs/guide.md"));
    let sources = [include_str!("../../src/config.rs"), include_str!("../../src/stats.rs")].concat();
    let mut fields = 0;
    for name in ["ServerConfig", "ClientConfig", "Limits", "ConnectionStats"] {
        let (_, body) = sources.split_once(&format!("pub struct {name} {{")).expect("the structure");
        let (body, _) = body.split_once("\n}").expect("its end");
        for field in body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next()) {
            assert!(guide.contains(&format!("`{field}`")), "docs/guide.md does not name {name}::{field}");
            fields += 1;
        }
    }
    assert!(fields > 60, "{fields}");
}

/// docs/operations.md says of every limit and every figure what it means.
#[test]
fn operations_names_every_limit_and_figure() {
    let text = read(&root().join("docs/operations.md"));
    let sources = [include_str!("../../src/config.rs"), include_str!("../../src/stats.rs")].concat();
    for name in ["Limits", "ConnectionStats", "EndpointStats"] {
        let (_, body) = sources.split_once(&format!("pub struct {name} {{")).expect("the structure");
        let (body, _) = body.split_once("\n}").expect("its end");
        let fields = body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next());
        for field in fields {
            assert!(text.contains(&format!("`{field}`")), "docs/operations.md does not name {name}::{field}");
        }
    }
}

/// Every test that SECURITY.md and docs/assurance.md name exists, and every incident's test is named.
#[test]
fn the_tables_of_threats_and_incidents_name_real_tests() {
    let tests = root().join("fastwire/tests/it");
    let (security, assurance) = (read(&root().join("SECURITY.md")), read(&root().join("docs/assurance.md")));
    let mut named = 0;
    for name in security.split('`').chain(assurance.split('`')).filter(|name| name.contains("::")) {
        let Some((module, function)) = name.rsplit_once("::") else { continue };
        let first = tests.join(module.split("::").next().unwrap_or_default());
        if !first.is_dir() && !first.with_extension("rs").is_file() {
            continue;
        }
        let file = tests.join(format!("{}.rs", module.replace("::", "/")));
        assert!(read(&file).contains(&format!("fn {function}(")), "no test {name}");
        named += 1;
    }
    assert!(named > 50, "{named}");
    for entry in std::fs::read_dir(tests.join("incidents")).expect("incidents/") {
        let path = entry.expect("an entry").path();
        let module = path.file_stem().expect("a name").to_string_lossy().into_owned();
        for test in read(&path).split("#[test]\nfn ").skip(1) {
            let name = format!("`incidents::{module}::{}`", test.split('(').next().unwrap_or_default());
            assert!(assurance.contains(&name), "docs/assurance.md does not name {name}");
        }
    }
}

/// A heading as the anchor that links name it by.
fn heading(line: &str) -> Option<String> {
    let text = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
    let kept = text.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.map(|c| if c == ' ' { '-' } else { c }).collect())
}
