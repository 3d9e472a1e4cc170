//! docs/kcp.md names everything that kcp-go and the C library export, and every cipher by the name that is understood.

use fastwire_kcp::crypt::CryptKind;

/// Exported names, by where they are found.
const NAMES: &str = "
    Dial DialWithOptions NewConn NewConn2 NewConn3 NewConn4 Listen ListenWithOptions ServeConn
    Accept AcceptKCP Addr Close Control SetDeadline SetReadDeadline SetWriteDeadline SetDSCP SetReadBuffer SetWriteBuffer
    Read Write WriteBuffers LocalAddr RemoteAddr SetWriteDelay SetWindowSize SetMtu SetStreamMode SetACKNoDelay SetNoDelay
    SetDUP SetRateLimit SetOOBHandler GetOOBMaxSize SendOOB GetConv GetRTO GetSRTT GetSRTTVar SetLogger
    NewKCP Send Recv PeekSize Input Update Check NoDelay WndSize WaitSnd
    BlockCrypt Encrypt Decrypt NewSalsa20BlockCrypt NewSM4BlockCrypt NewTwofishBlockCrypt NewTripleDESBlockCrypt
    NewCast5BlockCrypt NewBlowfishBlockCrypt NewAESBlockCrypt NewTEABlockCrypt NewXTEABlockCrypt NewSimpleXORBlockCrypt
    NewNoneBlockCrypt NewAEADCrypt NewAESGCMCrypt
    NewEntropy NewEntropyAES NewEntropyChacha8 SetEntropy TimedSched NewTimedSched SystemTimedSched RingBuffer Snmp DefaultSnmp
    Header ToSlice Copy Reset IKCP_
    ikcp_create ikcp_release ikcp_setoutput ikcp_recv ikcp_send ikcp_update ikcp_check ikcp_input ikcp_flush ikcp_peeksize
    ikcp_setmtu ikcp_wndsize ikcp_waitsnd ikcp_nodelay ikcp_interval ikcp_getconv ikcp_allocator ikcp_log ikcp_setcc
";

#[test]
fn the_documentation_has_a_row_for_every_name() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kcp.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, tables) = text.split_once("## kcp-go's names").unwrap();
    // What stands between backticks in the left column, cut into words.
    let left = tables.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let left = left.chain(tables.lines().filter(|line| line.contains("SetWriteDeadline")));
    let words: Vec<&str> =
        left.flat_map(|cell| cell.split(|c: char| !c.is_alphanumeric() && c != '_')).collect();
    let missing: Vec<_> = NAMES.split_whitespace().filter(|name| !words.contains(name)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
    for kind in CryptKind::all().filter(|kind| matches!(kind, CryptKind::Insecure(_))) {
        assert!(tables.contains(&format!("`\"{}\"`", kind.name())), "{kind} is not named");
    }
}
