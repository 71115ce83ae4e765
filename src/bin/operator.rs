//! `bellwether`: the operator. Flags in, settings out, and then it runs until it is told to stop or loses its Lease.
use anyhow::{Context as _, anyhow, bail};
use bellwether::{
    api, cli,
    cluster::{Clock, Cluster, Settings, Shard, lease::Terms},
    controller::{self, Care, Ended},
    duration::Duration,
    outbound::{self, HostPort, Outbound},
    serve::{self, Health},
    telemetry::{self, LogFormat, Telemetry},
};
use clap::{Parser, Subcommand};
use futures::channel::mpsc;
use kube::{Client, Config};
use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
};
use tokio::signal::unix::{SignalKind, signal};

/// Progressive delivery for Kubernetes Deployments that promotes or undoes itself.
#[derive(Parser)]
#[command(name = "bellwether", version)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the operator.
    Run(Box<Run>),
    /// Write the definitions of all kinds, one file each.
    Crds {
        /// The folder to write them to; without it they go to standard output.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Give Deployments back: delete Rollouts and wait until they are gone.
    Eject {
        /// All Rollouts. There is no other choice here; for one Rollout use `kubectl bellwether eject`.
        #[arg(long, required = true)]
        all: bool,
        /// A namespace to do this in; may be given more than once. Without it, in all of them.
        #[arg(long = "watch-namespace")]
        namespaces: Vec<String>,
        /// Only Rollouts whose labels match, as with `kubectl -l`. Without it, all of them.
        #[arg(long, default_value = "")]
        selector: Shard,
        /// How long to wait.
        #[arg(long, default_value = "120s")]
        timeout: Duration,
    },
}

#[derive(clap::Args)]
struct Run {
    /// The operator's own namespace: its Lease, and the Secrets of cluster providers.
    #[arg(long, env = "POD_NAMESPACE", default_value = "bellwether-system")]
    namespace: String,
    /// This replica's name.
    #[arg(long, env = "POD_NAME", default_value = "bellwether")]
    identity: String,
    /// A namespace to watch; may be given more than once. Without it all are watched.
    #[arg(long = "watch-namespace")]
    watch_namespaces: Vec<String>,
    /// Care only for Rollouts whose labels match, as with `kubectl -l`; others are left to other operators. Without it, for
    /// all of them.
    #[arg(long, env = "BELLWETHER_SELECTOR", default_value = "")]
    selector: Shard,
    /// Name of the Lease. Without it `bellwether`, and with a selector `bellwether-` and a word that follows from it.
    #[arg(long, env = "BELLWETHER_LEASE_NAME")]
    lease_name: Option<String>,
    /// How long a Lease that nobody renews is respected; at least 2s.
    #[arg(long, default_value = "3s")]
    lease_duration: Duration,
    /// How often the Lease is renewed; at most a third of its duration.
    #[arg(long, default_value = "1s")]
    renew_interval: Duration,
    /// How many Rollouts are looked at side by side at the most; 0 is no limit.
    #[arg(long, default_value = "16")]
    concurrent_looks: u16,
    /// How long a look at one Rollout may take before it is given up; at least 5s.
    #[arg(long, default_value = "30s")]
    look_timeout: Duration,
    /// Where /livez, /readyz and /metrics are served; [::] is every address, of IPv4 too.
    #[arg(long, default_value = "[::]:8080")]
    listen: SocketAddr,
    /// How logs are written. Their level is `RUST_LOG`, else `info`.
    #[arg(long, value_enum, default_value = "json")]
    log_format: LogFormat,
    /// The cluster's DNS domain.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// An address, as host:port, that may be asked although it is not in-cluster and https; may be given more than once.
    #[arg(long = "allow-address")]
    allow: Vec<HostPort>,
    /// Name of the admission policy that keeps the Deployment controller from making `ReplicaSets`.
    #[arg(long, default_value = "bellwether-belt")]
    belt_policy: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            // As sysexits.h has it: wrong usage.
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let done = match args.verb {
        Verb::Run(run) => {
            telemetry::start_logging(run.log_format);
            match run.run().await {
                Ok(Ended::Told) => Ok(()),
                Ok(Ended::LeaseLost) => Err(begin_anew()),
                Ok(Ended::LooksEnded) => Err(anyhow!("the watches ended by themselves")),
                Err(error) => Err(error),
            }
        }
        Verb::Crds { out } => write_definitions(out.as_deref()),
        Verb::Eject { all: _, namespaces, selector, timeout } => eject(&namespaces, &selector, timeout).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bellwether: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Run {
    async fn run(self) -> anyhow::Result<Ended> {
        self.check()?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            identity = self.identity,
            namespace = self.namespace,
            "starting"
        );
        let mut config = config().await?;
        // Whoever may write a URL must not reach the API server's Service by way of the operator. Its endpoints, as nodes, are
        // for a NetworkPolicy to deny: they are not known here, and no request of ours carries a right that they would honour.
        let in_cluster = std::env::var("KUBERNETES_SERVICE_HOST").ok();
        let api_server = config.cluster_url.host().map(str::to_owned).into_iter().chain(in_cluster);
        let deny = outbound::addresses_of(api_server).await;
        // A look that fails has a wait of its own, and half a minute of tries within it would look like one without end.
        config.default_retry = false;
        let client = client(config)?;
        let health = Health::default();
        let pages = tokio::spawn(serve::serve(self.listen, health.clone()));
        let mut told = Told::listen()?;
        let terms = Terms {
            namespace: self.namespace.clone(),
            name: self.lease_name.clone().unwrap_or_else(|| self.selector.lease_name("bellwether")),
            identity: own_identity(&self.identity),
            duration: self.lease_duration.std(),
            renew: self.renew_interval.std(),
        };
        let (cluster, wakes) = self.cluster(client, deny, &health.telemetry)?;
        let care = Care {
            namespaces: self.watch_namespaces.clone(),
            side_by_side: self.concurrent_looks,
            longest_look: self.look_timeout.std(),
        };
        tracing::info!(lease = terms.name, selector = self.selector.selector(), "caring");
        let ready = || health.ready.store(true, Ordering::Relaxed);
        tokio::select! {
            ended = controller::lead(cluster, terms, care, wakes, ready, told.stop()) => Ok(ended),
            ended = pages => bail!("the pages ended: {ended:?}"),
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.lease_duration < Duration::seconds(2) {
            bail!("--lease-duration must be at least 2s");
        }
        if self.renew_interval.as_millis() == 0 || self.renew_interval.as_millis() * 3 > self.lease_duration.as_millis()
        {
            bail!("--renew-interval must be more than 0 and at most a third of --lease-duration");
        }
        if self.look_timeout < Duration::seconds(5) {
            bail!("--look-timeout must be at least 5s");
        }
        Ok(())
    }

    fn cluster(
        &self,
        client: Client,
        deny: Vec<IpAddr>,
        telemetry: &Telemetry,
    ) -> anyhow::Result<(Cluster, mpsc::UnboundedReceiver<bellwether::cluster::Key>)> {
        let outbound = Outbound::new(outbound::Settings {
            cluster_domain: self.cluster_domain.clone(),
            allow: self.allow.clone(),
            deny,
        })?;
        let settings = Settings {
            namespace: self.namespace.clone(),
            identity: self.identity.clone(),
            belt: self.belt_policy.clone(),
            shard: self.selector.clone(),
            clock: Clock::default(),
        };
        let (wake, wakes) = mpsc::unbounded();
        let cluster = Cluster::new(client, settings, telemetry.clone(), outbound, move |key| {
            // That nobody listens any more means that we are stopping.
            let _ = wake.unbounded_send(key);
        });
        Ok((cluster, wakes))
    }
}

/// Who lost its Lease may not write any more, and the surest way not to is to end. The process begins anew in its own place,
/// with nothing in memory and no connection open, so that a busy hour does not become a growing pause between restarts.
fn begin_anew() -> anyhow::Error {
    tracing::warn!("the Lease was lost; beginning anew as a standby");
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    anyhow::Error::new(std::process::Command::new(program).args(std::env::args_os().skip(1)).exec())
        .context("the Lease was lost, and the process could not begin anew")
}

/// A name for this process: a container that is started again has its pod's name, and must not be taken for the one before.
fn own_identity(pod: &str) -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    format!("{pod}_{:08x}", RandomState::new().build_hasher().finish() & 0xffff_ffff)
}

/// Whether somebody told us to stop.
struct Told {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Told {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn config() -> anyhow::Result<Config> {
    let mut config = Config::infer().await.context("cannot find out how to reach the API server")?;
    // A call that hangs must end before the Lease does its work for us; watches say how long they are silent themselves.
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    // Lists, and what opens a watch, wait for nobody else: a server that died without a word would be waited for without end.
    // A watch is closed by the server before it has been silent for so long.
    config.read_timeout = Some(std::time::Duration::from_secs(330));
    config.reset_reader_on_write = true;
    Ok(config)
}

fn client(config: Config) -> anyhow::Result<Client> {
    Client::try_from(config).context("cannot make a client for the API server")
}

fn write_definitions(out: Option<&Path>) -> anyhow::Result<()> {
    for definition in api::definitions() {
        let text = api::definition_text(&definition)?;
        match out {
            Some(folder) => {
                let file = folder.join(format!("{}.yaml", definition.spec.names.plural));
                std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
            }
            None => writeln!(std::io::stdout(), "---\n{text}")?,
        }
    }
    Ok(())
}

async fn eject(namespaces: &[String], selector: &Shard, timeout: Duration) -> anyhow::Result<()> {
    let selector = selector.selector();
    cli::eject_from(client(config().await?)?, namespaces, selector.as_deref(), timeout, &mut std::io::stdout()).await
}
