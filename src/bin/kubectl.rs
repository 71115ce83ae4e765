//! `kubectl-bellwether`: the plugin that kubectl runs as `kubectl bellwether`.
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // The one provider that is compiled in; that it is installed already would be as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    bellwether::cli::run(std::env::args_os()).await
}
