//! Where the operator's requests may go: rules for URLs, read before anything is sent, and for addresses, read after a
//! name is resolved and before anything is dialled.
use reqwest::Url;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// What the administrator says about outgoing requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The cluster's DNS domain, without dots around it.
    pub cluster_domain: String,
    /// Exceptions: to these hosts and ports plain http is spoken, and any address they resolve to is dialled.
    pub allow: Vec<HostPort>,
    /// Addresses that are never dialled besides the built-in ones, such as those of the API server.
    pub deny: Vec<IpAddr>,
}

/// A host and a port, as in `prometheus.example.com:9090`, `10.0.0.7:9090` or `[fd00::7]:9090`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: Host,
    port: u16,
}

/// Why a text is not a host and a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a host and a port: write them like prometheus.example.com:9090 or [fd00::7]:9090")]
pub struct NotAHostPort(String);

/// Why nothing is sent to a URL. The texts say the cure and repeat nothing of the URL, which may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The text is not a URL.
    #[error("the URL cannot be read: write it like https://host:port/path, without blanks and backslashes")]
    Unreadable,
    /// The scheme is another.
    #[error(
        "the URL is neither https nor http: use https, or an in-cluster Service like http://prometheus.monitoring.svc"
    )]
    Scheme,
    /// Plain http to something that is not a Service.
    #[error(
        "plain http leads out of the cluster: use https, or an in-cluster Service like http://prometheus.monitoring.svc"
    )]
    PlainHttp,
    /// `user:password@` before the host.
    #[error("the URL carries a user or a password: keep them in a Secret and refer to it")]
    Credentials,
    /// A host that reads differently for people and for machines, such as `0x7f.1` or `%6cocalhost`.
    #[error("the host is written in an unusual form: write a plain name, or an address as four decimal numbers")]
    Obscured,
    /// The host is, or resolves only to, addresses that are never dialled.
    #[error(
        "the host leads to an address that is never dialled (loopback, link-local, metadata, multicast, the API server): name \
         another host, or let the administrator allow this host and port"
    )]
    Address,
}

/// An URL that passed, and whether the administrator lifted the rules for it.
pub(super) struct Target {
    pub url: Url,
    pub is_exempt: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cluster_domain: "cluster.local".to_owned(), allow: Vec::new(), deny: Vec::new() }
    }
}

impl Settings {
    /// Reads the URL of a pod, which has an address and no name, and applies every rule but that of plain http.
    pub(super) fn pod(&self, text: &str) -> Result<Target, Refused> {
        let (url, host, is_exempt) = self.read(text)?;
        let is_pod = matches!(host, Host::Address(_)) && (is_exempt || !host.is_never_dialled(&self.deny));
        if is_pod { Ok(Target { url, is_exempt }) } else { Err(Refused::Address) }
    }

    /// Reads a URL and applies every rule that needs no look-up.
    pub(super) fn target(&self, text: &str) -> Result<Target, Refused> {
        let (url, host, is_exempt) = self.read(text)?;
        if !is_exempt {
            if url.scheme() == "http" && !host.is_service(&self.cluster_domain) {
                return Err(Refused::PlainHttp);
            }
            if host.is_never_dialled(&self.deny) {
                return Err(Refused::Address);
            }
        }
        Ok(Target { url, is_exempt })
    }

    /// A URL that means what it says, its host, and whether the administrator lifted the rules for it.
    fn read(&self, text: &str) -> Result<(Url, Host, bool), Refused> {
        // The URL standard drops tabs and line breaks and reads a backslash as a slash: we want none of that.
        if text.chars().any(|c| c == '\\' || c.is_whitespace() || c.is_control()) {
            return Err(Refused::Unreadable);
        }
        let url = Url::parse(text).map_err(|_| Refused::Unreadable)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(Refused::Scheme);
        }
        let (_, rest) = text.split_once("://").ok_or(Refused::Unreadable)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(Refused::Credentials);
        }
        let host = Host::read(&url, authority)?;
        let port = url.port_or_known_default().ok_or(Refused::Unreadable)?;
        let is_exempt = self.allow.iter().any(|allowed| allowed.host == host && allowed.port == port);
        Ok((url, host, is_exempt))
    }
}

/// Those of a name's addresses that may be dialled. One lookup answers for the check and for the connection, so that a
/// name cannot change its mind in between.
///
/// # Errors
///
/// [`Refused::Address`] when none is left.
pub(super) fn dialable(
    found: impl IntoIterator<Item = SocketAddr>,
    deny: &[IpAddr],
) -> Result<Vec<SocketAddr>, Refused> {
    let left: Vec<SocketAddr> = found.into_iter().filter(|address| !is_denied(address.ip(), deny)).collect();
    if left.is_empty() { Err(Refused::Address) } else { Ok(left) }
}

/// A host as it is compared: an address, or a name in lower case without the final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Host {
    /// The URL's host, provided that it was written the way it was understood.
    fn read(url: &Url, authority: &str) -> Result<Self, Refused> {
        let understood = url.host_str().ok_or(Refused::Unreadable)?;
        if let Some(inner) = understood.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return inner.parse().map(|address| Self::Address(IpAddr::V6(address))).map_err(|_| Refused::Unreadable);
        }
        let written = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        if !written.eq_ignore_ascii_case(understood) {
            return Err(Refused::Obscured);
        }
        Ok(understood.parse().map_or_else(|_| Self::name(understood), |v4| Self::Address(IpAddr::V4(v4))))
    }

    fn name(text: &str) -> Self {
        Self::Name(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase())
    }

    /// Whether this is a Service's DNS name, `name.namespace.svc` with or without the cluster's domain.
    fn is_service(&self, cluster_domain: &str) -> bool {
        let Self::Name(name) = self else { return false };
        let short = name.strip_suffix(cluster_domain).and_then(|rest| rest.strip_suffix('.')).unwrap_or(name);
        let Some(service) = short.strip_suffix(".svc") else { return false };
        service.contains('.') && service.split('.').all(|label| !label.is_empty())
    }

    fn is_never_dialled(&self, deny: &[IpAddr]) -> bool {
        match self {
            Self::Address(address) => is_denied(*address, deny),
            // RFC 6761, 6.3: these resolve to loopback addresses.
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }
}

impl FromStr for HostPort {
    type Err = NotAHostPort;

    fn from_str(text: &str) -> Result<Self, NotAHostPort> {
        let wrong = || NotAHostPort(text.chars().take(80).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Host::Address(IpAddr::V6(inner.parse().map_err(|_| wrong())?))
        } else if let Ok(address) = host.parse() {
            Host::Address(IpAddr::V4(address))
        } else if !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
            Host::name(host)
        } else {
            return Err(wrong());
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Whether an address is never dialled, in its own form or as one of the IPv4 addresses it may stand for.
fn is_denied(address: IpAddr, deny: &[IpAddr]) -> bool {
    deny.contains(&address)
        || match address {
            IpAddr::V4(v4) => is_denied_v4(v4),
            IpAddr::V6(v6) => {
                is_denied_v6(v6) || embedded(v6).is_some_and(|v4| deny.contains(&IpAddr::V4(v4)) || is_denied_v4(v4))
            }
        }
}

fn is_denied_v4(address: Ipv4Addr) -> bool {
    /// Metadata services outside of 169.254.0.0/16: Alibaba, Azure, Oracle.
    const METADATA: [Ipv4Addr; 3] =
        [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
    // All of 0.0.0.0/8 is "this host on this network" (RFC 1122, 3.2.1.3), and Linux dials itself for 0.0.0.0.
    address.octets()[0] == 0
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || METADATA.contains(&address)
}

fn is_denied_v6(address: Ipv6Addr) -> bool {
    // Metadata and pod identity on AWS, metadata on Google Cloud.
    let is_metadata = matches!(address.segments(), [0xfd00, 0x0ec2, ..] | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254]);
    // NAT64 with a prefix of local choice (RFC 8215) may carry an IPv4 address in several places.
    let is_local_nat64 = matches!(address.segments(), [0x0064, 0xff9b, 0x0001, ..]);
    address.is_unspecified()
        || address.is_loopback()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || is_metadata
        || is_local_nat64
}

/// The IPv4 address that a translator or a tunnel would make of this one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        // IPv4-compatible and -mapped (RFC 4291, 2.5.5), IPv4-translated (RFC 2765), NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x0064, 0xff9b, 0, 0, 0, 0, high, low]
        // 6to4 (RFC 3056).
        | [0x2002, high, low, ..] => Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(url: &str) -> Result<(), Refused> {
        Settings::default().target(url).map(drop)
    }

    #[test]
    fn addresses_that_lead_back_or_to_metadata_are_never_dialled() {
        for text in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.170.23",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::10.0.0.1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(is_denied(text.parse().unwrap(), &[]), "{text}");
        }
    }

    #[test]
    fn addresses_of_services_pods_and_the_world_are_dialled() {
        for text in [
            "10.96.0.10",
            "172.16.3.4",
            "192.168.1.1",
            "100.64.0.7",
            "8.8.8.8",
            "2606:4700::1111",
            "fd12:3456::7",
            "::ffff:10.0.0.1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(!is_denied(text.parse().unwrap(), &[]), "{text}");
        }
    }

    #[test]
    fn an_address_the_administrator_denies_is_denied_in_every_form() {
        let deny = ["10.96.0.1".parse().unwrap()];
        for text in ["10.96.0.1", "::ffff:10.96.0.1", "64:ff9b::10.96.0.1", "2002:a60:1::"] {
            assert!(is_denied(text.parse().unwrap(), &deny), "{text}");
        }
    }

    #[test]
    fn a_name_that_also_leads_to_a_denied_address_keeps_only_the_others() {
        let good: SocketAddr = "203.0.113.7:0".parse().unwrap();
        let bad: SocketAddr = "127.0.0.1:0".parse().unwrap();
        assert_eq!(dialable([bad, good], &[]), Ok(vec![good]));
        assert_eq!(dialable([bad], &[]), Err(Refused::Address));
    }

    #[test]
    fn urls_of_receivers_and_services_pass() {
        for url in [
            "https://hooks.example.com/a?token=1",
            "HTTPS://Hooks.Example.com",
            "https://hooks.example.com:8443/a%20b",
            "https://203.0.113.7/",
            "https://[2606:4700::1111]/",
            "https://hooks.example.com/mail@example.com",
            "http://prometheus.monitoring.svc",
            "http://prometheus.monitoring.svc:9090/api",
            "http://prometheus.monitoring.svc.cluster.local:9090",
            "http://prometheus.monitoring.svc.cluster.local./",
            "http://prometheus-0.prometheus.monitoring.svc",
            "https://prometheus.monitoring.svc",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn urls_that_could_lead_elsewhere_are_refused() {
        for (url, why) in [
            ("", Refused::Unreadable),
            ("prometheus:9090", Refused::Scheme),
            ("hooks.example.com/a", Refused::Unreadable),
            ("https:/hooks.example.com", Refused::Unreadable),
            ("https:hooks.example.com", Refused::Unreadable),
            ("https://", Refused::Unreadable),
            ("https://hooks.example.com:99999/", Refused::Unreadable),
            (" https://hooks.example.com", Refused::Unreadable),
            ("https://hooks.exa\tmple.com", Refused::Unreadable),
            ("https://good.example.com\\@127.0.0.1/", Refused::Unreadable),
            ("file:///etc/passwd", Refused::Scheme),
            ("gopher://hooks.example.com", Refused::Scheme),
            ("ftp://hooks.example.com", Refused::Scheme),
            ("http://hooks.example.com", Refused::PlainHttp),
            ("http://10.0.0.7:9090", Refused::PlainHttp),
            ("http://127.0.0.1:9090", Refused::PlainHttp),
            ("http://localhost:9090", Refused::PlainHttp),
            ("http://prometheus", Refused::PlainHttp),
            ("http://prometheus.monitoring", Refused::PlainHttp),
            ("http://monitoring.svc", Refused::PlainHttp),
            ("http://.monitoring.svc", Refused::PlainHttp),
            ("http://svc", Refused::PlainHttp),
            ("http://prometheus.monitoring.svc.example.com", Refused::PlainHttp),
            ("http://prometheus.monitoring.svccluster.local", Refused::PlainHttp),
            ("http://prometheus.monitoring.svc.cluster.local.example.com", Refused::PlainHttp),
            ("https://user:secret@hooks.example.com", Refused::Credentials),
            ("https://user@hooks.example.com", Refused::Credentials),
            ("https://@hooks.example.com", Refused::Credentials),
            ("https://2130706433/", Refused::Obscured),
            ("https://0x7f000001/", Refused::Obscured),
            ("https://0x7f.1/", Refused::Obscured),
            ("https://0177.0.0.1/", Refused::Obscured),
            ("https://127.1/", Refused::Obscured),
            ("https://127.0.0.1./", Refused::Obscured),
            ("https://%31%32%37.0.0.1/", Refused::Obscured),
            ("https://%6cocalhost/", Refused::Obscured),
            ("https://１２７.0.0.1/", Refused::Obscured),
            ("https://ⓛocalhost/", Refused::Obscured),
            ("https://8.8.2056/", Refused::Obscured),
            ("https://127.0.0.1/", Refused::Address),
            ("https://169.254.169.254/latest/meta-data", Refused::Address),
            ("https://0.0.0.0/", Refused::Address),
            ("https://[::1]/", Refused::Address),
            ("https://[0:0:0:0:0:0:0:1]/", Refused::Address),
            ("https://[::ffff:127.0.0.1]/", Refused::Address),
            ("https://[::ffff:7f00:1]/", Refused::Address),
            ("https://[64:ff9b::7f00:1]/", Refused::Address),
            ("https://localhost/", Refused::Address),
            ("https://LOCALHOST./", Refused::Address),
            ("https://metadata.localhost/", Refused::Address),
        ] {
            assert_eq!(check(url), Err(why), "{url}");
        }
    }

    #[test]
    fn a_pod_is_spoken_to_at_its_address_alone_and_never_at_one_that_leads_back() {
        let settings = Settings { deny: vec!["10.96.0.1".parse().unwrap()], ..Settings::default() };
        let said = |url: &str| settings.pod(url).map(drop);
        for url in ["http://10.244.0.7:9090/metrics", "https://10.244.0.7/", "http://[fd00::7]:80/metrics?x=1"] {
            assert_eq!(said(url), Ok(()), "{url}");
        }
        for url in [
            "http://127.0.0.1:9090/metrics",
            "http://169.254.169.254/latest",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://10.96.0.1/",
            "http://app.shop.svc/metrics",
            "https://example.com/",
        ] {
            assert_eq!(said(url), Err(Refused::Address), "{url}");
        }
        assert_eq!(said("http://u:p@10.244.0.7/"), Err(Refused::Credentials));
        assert_eq!(said("http://0x7f.1/"), Err(Refused::Obscured));
    }

    #[test]
    fn another_cluster_domain_makes_other_services() {
        let settings = Settings { cluster_domain: "k8s.corp".to_owned(), ..Settings::default() };
        assert_eq!(settings.target("http://prometheus.monitoring.svc.k8s.corp").map(drop), Ok(()));
        assert_eq!(
            settings.target("http://prometheus.monitoring.svc.cluster.local").map(drop),
            Err(Refused::PlainHttp)
        );
    }

    #[test]
    fn an_exception_lifts_the_rules_for_its_host_and_port_only() {
        let allow = ["Metrics.corp:9090", "127.0.0.1:8080", "[::ffff:127.0.0.1]:8080"];
        let settings =
            Settings { allow: allow.iter().map(|text| text.parse().unwrap()).collect(), ..Settings::default() };
        for url in [
            "http://metrics.corp:9090/",
            "https://metrics.corp.:9090/",
            "http://127.0.0.1:8080",
            "http://[::ffff:7f00:1]:8080",
        ] {
            assert_eq!(settings.target(url).map(drop), Ok(()), "{url}");
        }
        assert_eq!(settings.target("http://metrics.corp/").map(drop), Err(Refused::PlainHttp));
        assert_eq!(settings.target("http://metrics.corp:9091/").map(drop), Err(Refused::PlainHttp));
        assert_eq!(settings.target("https://127.0.0.1:8443").map(drop), Err(Refused::Address));
        assert_eq!(settings.target("http://0x7f.1:8080").map(drop), Err(Refused::Obscured));
        assert_eq!(settings.target("http://user@127.0.0.1:8080").map(drop), Err(Refused::Credentials));
    }

    #[test]
    fn a_host_and_port_reads_back() {
        for text in ["metrics.corp:9090", "10.0.0.7:80", "[fd00::7]:443"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        for text in [
            "metrics.corp",
            ":80",
            "metrics.corp:",
            "metrics.corp:66000",
            "a b:1",
            "fd00::7:443",
            "[x]:1",
            "http://a:1",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(https?://)?.{0,40}") {
            let _ = check(&text);
            let _ = text.parse::<HostPort>();
        }

        #[test]
        fn no_way_of_writing_a_loopback_address_passes(
            last in 0_u32..=0x00ff_ffff,
            form in 0..5,
        ) {
            let number = 0x7f00_0000 | last;
            let host = match form {
                0 => number.to_string(),
                1 => format!("{number:#x}"),
                2 => format!("0{number:o}"),
                3 => Ipv4Addr::from(number).to_string(),
                _ => format!("[::ffff:{}]", Ipv4Addr::from(number)),
            };
            let refused = check(&format!("https://{host}/")).is_err();
            prop_assert!(refused, "{}", host);
        }
    }
}
