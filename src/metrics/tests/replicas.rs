//! A pair of Prometheus servers behind one address, each of which scrapes at times of its own.
use super::*;
use proptest::prelude::*;

/// How one server scrapes: when first, in milliseconds after [`START`], how often, and how much earlier than it is stamped
/// each sample was taken, compared with the slowest one.
#[derive(Clone, Debug)]
struct Server {
    first: i64,
    every: i64,
    slow: Vec<i64>,
}

fn server(every: i64) -> impl Strategy<Value = Server> {
    let slow = proptest::collection::vec(0..every / 4, 5);
    (-6 * every..every, slow).prop_map(move |(first, slow)| Server { first, every, slow })
}

impl Server {
    /// Times and values of a counter that grows by this each millisecond, until a moment.
    fn samples(&self, each: f64, from: f64, until: i64) -> Vec<(i64, String)> {
        let times = (0..).map(|scrape| self.first + scrape * self.every).take_while(|at| *at <= until);
        let value = |(scrape, at): (usize, i64)| {
            let taken = at + self.slow[scrape % self.slow.len()];
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let value = from + each * (taken + 100_000) as f64;
            (at, value.floor().to_string())
        };
        times.enumerate().map(value).collect()
    }
}

const SECONDS: u32 = 120;

/// What both servers have, as a store mixes it.
fn mixed(one: &[(i64, String)], other: &[(i64, String)]) -> Vec<(i64, String)> {
    let mut all = [one, other].concat();
    all.sort_by_key(|(at, _)| *at);
    all
}

fn istio(arm: &str, code: &str) -> String {
    format!(
        r#"{{"job":"istio","instance":"10.244.0.5:15020","destination_service":"app-{arm}.demo.svc.cluster.local","response_code":"{code}"}}"#
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn equal_arms_never_fail_whichever_server_answers(
        servers in (server(5_000), server(5_000)),
        answers in proptest::collection::vec(0..3_u8, 2),
        from in 0.0..1e6_f64,
    ) {
        let until = i64::from(SECONDS) * 1_000;
        // 45 requests a second, of which one goes wrong; a ninth of them on the canary.
        let counted = |answer: u8, each: f64, from: f64| {
            let of = |server: &Server| server.samples(each, from, until);
            match answer {
                0 => of(&servers.0),
                1 => of(&servers.1),
                _ => mixed(&of(&servers.0), &of(&servers.1)),
            }
        };
        let arm = |name: &str, answer: u8, part: f64| {
            body(&[
                (istio(name, "200"), counted(answer, 0.044 * part, from)),
                (istio(name, "503"), counted(answer, 0.001 * part, from / 50.0)),
            ])
        };
        let replies = [arm("canary", answers[0], 1.0), arm("stable", answers[1], 8.0)];
        let seen = read(&preset("istio/error-rate"), &provider(5), &subject_at(i64::from(SECONDS)), &replies);
        prop_assert_ne!(seen.verdict, Verdict::Fail, "{:?}", seen);
        // 0.045 a millisecond from the start on, and what one scrape may hold from before it.
        prop_assert!(seen.samples <= 45 * u64::from(SECONDS) + 45 * 8, "{:?}", seen);
    }
}
