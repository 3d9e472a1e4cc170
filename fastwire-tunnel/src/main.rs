//! `fastwire-tunnel`: see `--help`.

use fastwire_kcp::net::KcpListener;
use fastwire_tunnel::kcp::KcpOpener;
use fastwire_tunnel::options::{HELP, Options, Role, parse};
use fastwire_tunnel::show::show;
use fastwire_tunnel::tunnel::{Traffic, forward, serve};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = match parse(&arguments, |name| std::env::var(name).ok()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(complaint) => {
            eprintln!("fastwire-tunnel: {complaint}; --help says more");
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fastwire-tunnel: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(Options { role, listen, to, kcp, level, quiet }: Options) -> io::Result<()> {
    let traffic = Arc::new(Traffic::default());
    let at = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen at {listen}: {error}"));
    match role {
        Role::Server => {
            let listener = KcpListener::bind(&listen, kcp).await.map_err(at)?;
            println!("KCP at {} to TCP at {to}", listener.local_addr()?);
            show_unless(quiet, &traffic);
            serve(listener, to, level, traffic).await
        }
        Role::Client => {
            let listener = TcpListener::bind(&listen).await.map_err(at)?;
            println!("TCP at {} through KCP to {to}", listener.local_addr()?);
            show_unless(quiet, &traffic);
            forward(listener, KcpOpener { server: to, config: kcp }, level, traffic).await;
            Ok(())
        }
    }
}

fn show_unless(quiet: bool, traffic: &Arc<Traffic>) {
    if !quiet {
        tokio::spawn(show(traffic.clone()));
    }
}
