//! The client against small servers on the loopback, which an exception allows.
use super::*;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    io::{Read, Write},
    sync::Arc,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Its own authority, for 127.0.0.1, until 2120; made for these tests alone.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBQDCB6KADAgECAgEBMAoGCCqGSM49BAMCMBgxFjAUBgNVBAMMDW91dGJvdW5k
IHRlc3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBgxFjAUBgNV
BAMMDW91dGJvdW5kIHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARn/nDV
H2FukJU0TbGe+6kFzmqfoUcw7kx6QqlD37/w2kKZRcSrz0kVwxaX10k3yv52BRRo
uoPi7d0uaY9dZHdwoyEwHzAPBgNVHREECDAGhwR/AAABMAwGA1UdEwEB/wQCMAAw
CgYIKoZIzj0EAwIDRwAwRAIgbddUSCknC7bbXpL3j29dpb+8TaCm5Ha0hcnGKFRy
uG4CIBn2wl9r7PNSPs4gzT7mBIEa5neIxnvee7NmDnzUTfdn
-----END CERTIFICATE-----
";
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgvD5Q0gs254QdrL1F
T2KYnvm+vwzsru1dI0Hedr/7UTGhRANCAARn/nDVH2FukJU0TbGe+6kFzmqfoUcw
7kx6QqlD37/w2kKZRcSrz0kVwxaX10k3yv52BRRouoPi7d0uaY9dZHdw
-----END PRIVATE KEY-----
";

/// A client that may speak to this port of the loopback.
pub(crate) fn outbound(port: u16) -> Outbound {
    let allow = vec![format!("127.0.0.1:{port}").parse().unwrap()];
    Outbound::new(Settings { allow, ..Settings::default() }).unwrap()
}

fn get(url: String) -> Request {
    Request {
        method: Method::Get,
        url,
        headers: Vec::new(),
        body: Body::Empty,
        credentials: None,
        ca_bundle: None,
        peer: Peer::Named,
        timeout: Duration::seconds(5),
        body_cap: 1_000,
    }
}

/// Answers one request with these bytes, then closes; tells what was asked.
async fn server(answer: &'static str) -> (u16, JoinHandle<String>) {
    let (port, asked) = servers(vec![answer.to_owned()]).await;
    (port, tokio::spawn(async move { asked.await.unwrap().remove(0) }))
}

/// Answers each of so many connections with its bytes, then closes it; tells what was asked.
pub(crate) async fn servers(answers: Vec<String>) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            asked.push(request(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    (port, asked)
}

/// One request, headers and body.
async fn request(stream: &mut TcpStream) -> String {
    let mut asked = String::new();
    let mut buffer = [0; 4_096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        asked.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((headers, body)) = asked.split_once("\r\n\r\n") else { continue };
        let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return asked;
        }
    }
}

#[tokio::test]
async fn a_form_with_credentials_arrives_as_it_was_said() {
    let (port, asked) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    let request = Request {
        method: Method::Post,
        headers: vec![("X-Scope-OrgID".into(), "shop".into())],
        body: Body::Form(vec![("query".into(), "up{a=\"1\"} & b".into())]),
        credentials: Some(Credentials::Bearer("token\n".into())),
        ..get(format!("http://127.0.0.1:{port}/api?x=1"))
    };
    let answer = outbound(port).send(request).await.unwrap();
    assert_eq!(answer, Answer { status: 200, body: b"hi".to_vec() });
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /api?x=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nx-scope-orgid: shop\r\n"), "{asked}");
    assert!(asked.contains("\r\nauthorization: Bearer token\r\n"), "{asked}");
    assert!(asked.ends_with("\r\n\r\nquery=up%7Ba%3D%221%22%7D+%26+b"), "{asked}");
}

#[tokio::test]
async fn a_form_that_is_got_is_in_the_query() {
    let (port, asked) = server("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    let request = Request {
        body: Body::Form(vec![("query".into(), "a & b".into())]),
        credentials: Some(Credentials::Basic { username: "u".into(), password: "p".into() }),
        ..get(format!("http://127.0.0.1:{port}/api?x=1"))
    };
    assert_eq!(outbound(port).send(request).await.unwrap().status, 404);
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("GET /api?x=1&query=a+%26+b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nauthorization: Basic dTpw\r\n"), "{asked}");
}

#[tokio::test]
async fn hosts_that_are_not_to_be_dialled_are_known_by_address_and_by_name_and_refused_however_they_are_written() {
    let hosts = ["10.96.0.1", "[fd00::1]", "fd00::2", "localhost", "not a host"];
    let deny = addresses_of(hosts.map(str::to_owned)).await;
    for known in ["10.96.0.1", "fd00::1", "fd00::2", "127.0.0.1"] {
        assert!(deny.contains(&known.parse().unwrap()), "{known}: {deny:?}");
    }
    let outbound = Outbound::new(Settings { deny, ..Settings::default() }).unwrap();
    for host in ["10.96.0.1", "[::ffff:10.96.0.1]", "[64:ff9b::a60:1]", "[fd00::1]", "[fd00::2]"] {
        let refused = outbound.send(get(format!("https://{host}/version"))).await.unwrap_err();
        assert!(matches!(refused, Failure::Refused(Refused::Address)), "{host}: {refused:?}");
        assert!(refused.to_string().contains("the API server"), "{refused}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (elsewhere, visited) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let answer = format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{elsewhere}/\r\ncontent-length: 0\r\n\r\n");
    let (port, asked) = server(answer.leak()).await;
    let allow = [port, elsewhere].iter().map(|port| format!("127.0.0.1:{port}").parse().unwrap()).collect();
    let outbound = Outbound::new(Settings { allow, ..Settings::default() }).unwrap();
    assert_eq!(outbound.send(get(format!("http://127.0.0.1:{port}/"))).await.unwrap().status, 302);
    asked.await.unwrap();
    assert!(!visited.is_finished());
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_not_read() {
    let (port, _asked) = server("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\nsecret").await;
    let failure = outbound(port).send(get(format!("http://127.0.0.1:{port}/"))).await.unwrap_err();
    assert!(matches!(failure, Failure::TooLarge { cap: 1_000 }), "{failure:?}");
}

#[tokio::test]
async fn a_body_without_an_end_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let flood = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        let mut next: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        while stream.write_all(next).await.is_ok() {
            next = b"8\r\nendless!\r\n";
        }
    });
    let failure = outbound(port).send(get(format!("http://127.0.0.1:{port}/"))).await.unwrap_err();
    assert!(matches!(failure, Failure::TooLarge { cap: 1_000 }), "{failure:?}");
    // The connection was dropped, or this would never end.
    flood.await.unwrap();
}

#[tokio::test]
async fn a_body_as_long_as_the_cap_is_read() {
    let (port, _asked) = server("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfull").await;
    let request = Request { body_cap: 4, ..get(format!("http://127.0.0.1:{port}/")) };
    assert_eq!(outbound(port).send(request).await.unwrap().body, b"full");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let request = Request { timeout: Duration::seconds(1), ..get(format!("http://127.0.0.1:{port}/")) };
    let failure = outbound(port).send(request).await.unwrap_err();
    assert!(matches!(failure, Failure::Timeout(_)), "{failure:?}");
    assert_eq!(failure.to_string(), "there was no complete answer within 1s");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_failed_connection() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let failure = outbound(port).send(get(format!("http://127.0.0.1:{port}/?token=hidden"))).await.unwrap_err();
    assert!(matches!(failure, Failure::Connect(_)), "{failure:?}");
    assert!(!format!("{failure} {failure:?}").contains("hidden"), "{failure:?}");
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_not_repeated() {
    let (port, _asked) = server("root:x:0:0:hidden\r\n\r\n").await;
    let failure = outbound(port).send(get(format!("http://127.0.0.1:{port}/"))).await.unwrap_err();
    assert!(matches!(failure, Failure::Exchange(_)), "{failure:?}");
    assert!(!format!("{failure} {failure:?}").contains("hidden"), "{failure:?}");
}

#[tokio::test]
async fn plain_http_out_of_the_cluster_is_not_sent() {
    let failure = outbound(1).send(get("http://127.0.0.1:2/".into())).await.unwrap_err();
    assert!(matches!(failure, Failure::Refused(Refused::PlainHttp)), "{failure:?}");
    assert!(failure.to_string().contains("http://prometheus.monitoring.svc"));
}

#[tokio::test]
async fn a_name_that_leads_to_the_loopback_is_not_dialled() {
    let (port, asked) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let outbound = outbound(port);
    let dial = |any_address| {
        let client = outbound.client(Trust { ca_bundle: None, any_address, peer: Peer::Named }).unwrap();
        client.get(format!("http://localhost:{port}/")).send()
    };
    let failure = Failure::of(dial(false).await.unwrap_err());
    assert!(matches!(failure, Failure::Refused(Refused::Address)), "{failure:?}");
    assert!(!asked.is_finished());
    assert!(dial(true).await.is_ok());
}

#[tokio::test]
async fn the_guard_resolves_a_name_to_no_denied_address() {
    let refused = Guard { deny: Vec::new() }.resolve("localhost".parse().unwrap()).await.err().unwrap();
    assert_eq!(refused.downcast_ref(), Some(&Refused::Address));
}

#[test]
fn a_ca_bundle_without_a_whole_certificate_is_a_clear_failure() {
    let cut = CERTIFICATE.replace("MIIBQDCB6KADAgECAgEB", "");
    for pem in ["", "garbage", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n", KEY, &cut] {
        let trust = Trust { ca_bundle: Some(pem.to_owned()), any_address: false, peer: Peer::Named };
        let failure = outbound(1).client(trust).unwrap_err();
        assert!(matches!(failure, Failure::CaBundle(_)), "{pem}: {failure:?}");
    }
}

/// Serves one request over TLS with ring, on a thread, for the client is the one that is tested.
fn tls_server() -> u16 {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, listener.accept().unwrap().0);
        // A client that does not trust us leaves here.
        if stream.read(&mut [0; 4_096]).is_ok() {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntold").unwrap();
            stream.flush().unwrap();
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_the_ca_bundle_knows_is_trusted() {
    let port = tls_server();
    let request = Request { ca_bundle: Some(CERTIFICATE.into()), ..get(format!("https://127.0.0.1:{port}/")) };
    assert_eq!(outbound(port).send(request).await.unwrap().body, b"told");
}

#[tokio::test]
async fn a_pods_certificate_descends_from_the_bundle_or_none_is_asked_for() {
    let pod = |peer, ca_bundle: Option<&str>| {
        let port = tls_server();
        let ca_bundle = ca_bundle.map(str::to_owned);
        async move {
            let request = Request { ca_bundle, peer, ..get(format!("https://127.0.0.1:{port}/")) };
            outbound(port).send(request).await.map(|answer| answer.body)
        }
    };
    assert_eq!(pod(Peer::Pod, Some(CERTIFICATE)).await.unwrap(), b"told");
    assert_eq!(pod(Peer::AnyPod, None).await.unwrap(), b"told");
    assert!(matches!(pod(Peer::Pod, None).await, Err(Failure::Tls(_))));
}

#[tokio::test]
async fn a_pods_redirect_is_not_followed_and_its_loopback_is_not_dialled() {
    let (port, asked) =
        server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    let request = Request { peer: Peer::Pod, ..get(format!("http://127.0.0.1:{port}/metrics")) };
    assert_eq!(outbound(port).send(request.clone()).await.unwrap().status, 302);
    assert!(asked.await.unwrap().starts_with("GET /metrics HTTP/1.1"));
    let nobodys = Outbound::new(Settings::default()).unwrap();
    assert!(matches!(nobodys.send(request).await, Err(Failure::Refused(Refused::Address))));
}

#[tokio::test]
async fn a_server_that_nobody_knows_is_not_trusted() {
    let port = tls_server();
    let failure = outbound(port).send(get(format!("https://127.0.0.1:{port}/"))).await.unwrap_err();
    assert!(matches!(failure, Failure::Tls(_)), "{failure:?}");
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_a_failure_of_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Until the client leaves.
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    });
    let failure = outbound(port).send(get(format!("https://127.0.0.1:{port}/"))).await.unwrap_err();
    assert!(matches!(failure, Failure::Tls(_)), "{failure:?}");
}

#[tokio::test]
async fn headers_and_credentials_that_http_cannot_carry_are_refused() {
    for (name, value) in [
        ("Host", "127.0.0.1"),
        ("content-length", "7"),
        ("Authorization", "Bearer x"),
        ("a b", "c"),
        ("", "c"),
        ("x", "a\r\nb: c"),
    ] {
        let request = Request { headers: vec![(name.into(), value.into())], ..get("https://127.0.0.1:1".into()) };
        let failure = outbound(1).send(request).await.unwrap_err();
        assert!(matches!(failure, Failure::Header { .. }), "{name}: {failure:?}");
    }
    let token = Credentials::Bearer("a\nhidden".into());
    let request = Request { credentials: Some(token), ..get("https://127.0.0.1:1".into()) };
    let failure = outbound(1).send(request.clone()).await.unwrap_err();
    assert!(matches!(failure, Failure::Credentials(_)), "{failure:?}");
    assert!(!format!("{failure} {failure:?} {request:?}").contains("hidden"), "{failure:?}");
}

#[test]
fn clients_are_kept_but_not_without_end() {
    let outbound = outbound(1);
    let trust =
        |n: usize| Trust { ca_bundle: Some(format!("{n}\n{CERTIFICATE}")), any_address: false, peer: Peer::Named };
    for n in 0..CLIENTS_KEPT + 3 {
        outbound.client(trust(n)).unwrap();
    }
    outbound.client(trust(CLIENTS_KEPT)).unwrap();
    let clients = outbound.clients.lock().unwrap();
    assert_eq!(clients.len(), CLIENTS_KEPT);
    assert!(clients.back().is_some_and(|(newest, _)| *newest == trust(CLIENTS_KEPT)));
}

/// A client of Kubernetes is made in the same process, with whichever provider is there.
#[tokio::test]
async fn kube_makes_its_client_beside_this_one() {
    let _outbound = outbound(1);
    assert!(kube::Client::try_from(kube::Config::new("https://127.0.0.1:1".parse().unwrap())).is_ok());
}

/// The client is shared between tasks.
#[test]
fn the_client_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<Outbound>();
    shared::<Answer>();
    shared::<Failure>();
}
