//! Increases of pages, in the cases in which counters begin anew.
use super::{
    super::{counters, exposition, tests::preset},
    *,
};

const COUNTER: &str = "http_requests_total";

struct Pages {
    scrapes: Scrapes,
    wanted: Wanted,
    start: Option<i64>,
}

impl Pages {
    fn of(name: &'static str) -> Self {
        Self { scrapes: Scrapes::default(), wanted: Wanted::of(&preset(name)).remove(0), start: Some(1_000) }
    }

    fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }

    fn page(&self, uid: &str, text: &str) -> Page {
        let wanted = self.wanted();
        let read = exposition::read(text.as_bytes(), |name| wanted.names(name)).map_err(|bad| bad.to_string());
        let read = read.map(|samples| vec![(wanted.clone(), Found::of(&wanted, &samples))]);
        Page { pod: uid.into(), uid: uid.into(), arm: Arm::Canary, started: Some(0), began: Some(0), read }
    }

    fn add(&mut self, at: i64, pages: &[Page]) {
        let living: BTreeSet<_> = ["a", "b"].into();
        let asked = [Asked { metric: "m", wanted: self.wanted(), start: self.start }];
        self.scrapes.add(at, &asked, pages, &living);
    }

    fn one(&mut self, at: i64, text: &str) {
        let page = self.page("a", text);
        self.add(at, &[page]);
    }

    fn counted(&self) -> Counted {
        self.scrapes.counted("m", &self.wanted(), Arm::Canary, 1_000)
    }

    /// Sums by status, or by edge.
    fn sums(&self) -> Vec<(String, f64)> {
        let class =
            |series: &Series| ["code", "le"].iter().find_map(|label| series.labels.get(*label)).unwrap().clone();
        let counted = self.counted();
        counted.series.iter().map(|series| (class(series), series.samples.last().unwrap().1)).collect()
    }
}

fn counts(good: i64) -> String {
    format!("{COUNTER}{{code=\"200\"}} {good}\n")
}

fn sum(expected: f64) -> Vec<(String, f64)> {
    vec![("200".to_owned(), expected)]
}

#[test]
fn the_first_value_is_where_a_pod_starts_and_growth_is_added_up() {
    let mut pages = Pages::of("app/error-rate");
    pages.one(500, &counts(100));
    pages.one(1_500, &counts(107));
    pages.one(2_500, &counts(107));
    pages.one(3_500, &counts(110));
    assert_eq!(pages.sums(), sum(10.0));
    let counted = pages.counted();
    assert_eq!(counted.series[0].samples, [(500, 0.0), (1_500, 7.0), (2_500, 7.0), (3_500, 10.0)]);
    // As the judge reads them.
    let gained = counters::increases(&counted.series[0], &counted.beats, 1_000).unwrap();
    assert_eq!(gained.iter().map(|gained| (gained.at, gained.by)).collect::<Vec<_>>(), [(1_500, 7), (3_500, 3)]);
}

#[test]
fn a_fall_and_a_series_that_was_gone_begin_at_0() {
    let mut pages = Pages::of("app/error-rate");
    for (at, text) in [(500, counts(100)), (1_500, counts(3)), (2_500, String::new()), (3_500, counts(4))] {
        pages.one(at, &text);
    }
    assert_eq!(pages.sums(), sum(7.0));
}

#[test]
fn a_container_that_was_started_again_begins_at_0_once() {
    let mut pages = Pages::of("app/error-rate");
    pages.one(500, &counts(10));
    let again = Page { began: Some(900), ..pages.page("a", &counts(15)) };
    pages.add(1_500, std::slice::from_ref(&again));
    assert_eq!(pages.sums(), sum(15.0), "no fall shows it");
    pages.add(2_500, &[again]);
    assert_eq!(pages.sums(), sum(15.0));
    // The node tells of it after the fall was seen, and its clock is ahead.
    pages.add(3_500, &[Page { began: Some(900), ..pages.page("a", &counts(2)) }]);
    pages.add(4_500, &[Page { began: Some(9_000), ..pages.page("a", &counts(5)) }]);
    pages.add(5_500, &[Page { began: Some(9_000), ..pages.page("a", &counts(5)) }]);
    assert_eq!(pages.sums(), sum(20.0));
}

#[test]
fn a_pod_that_was_started_after_the_evidence_counts_from_0_and_another_from_its_first_page() {
    let mut pages = Pages::of("app/error-rate");
    pages.one(500, &counts(10));
    let new = Page { started: Some(1_200), ..pages.page("b", &counts(4)) };
    pages.add(1_500, &[pages.page("a", &counts(10)), new]);
    assert_eq!(pages.sums(), sum(4.0));
    let mut pages = Pages::of("app/error-rate");
    pages.one(500, &counts(10));
    pages.add(1_500, &[pages.page("a", &counts(10)), pages.page("b", &counts(4))]);
    assert_eq!(pages.sums(), sum(0.0));
}

#[test]
fn a_pod_that_is_read_first_when_it_has_run_for_a_while_begins_there() {
    let mut pages = Pages::of("app/error-rate");
    pages.one(500, &counts(10));
    // Others were read in its place until now: what it counted meanwhile is not of one interval.
    let began = |at, page| Page { started: Some(at), began: Some(at), ..page };
    let late = began(1_200, pages.page("b", &counts(400)));
    pages.add(64_500, &[pages.page("a", &counts(10)), late]);
    assert_eq!(pages.sums(), sum(0.0));
    let late = began(1_200, pages.page("b", &counts(403)));
    pages.add(65_500, &[pages.page("a", &counts(10)), late]);
    assert_eq!(pages.sums(), sum(3.0));
    // One whose page could not be read for as long was there from its beginning.
    let mut pages = Pages::of("app/error-rate");
    pages.one(500, &counts(10));
    let slow = Page { read: Err("busy".into()), ..began(1_200, pages.page("b", "")) };
    pages.add(1_500, &[pages.page("a", &counts(10)), slow]);
    pages.one(2_500, &counts(10));
    let slow = began(1_200, pages.page("b", &counts(400)));
    pages.add(64_500, &[pages.page("a", &counts(10)), slow]);
    assert_eq!(pages.sums(), sum(400.0));
}

#[test]
fn what_was_read_by_a_clock_that_was_put_back_is_forgotten() {
    let mut pages = Pages::of("app/error-rate");
    pages.one(100_000, &counts(5));
    pages.one(101_000, &counts(9));
    pages.one(99_000, &counts(10));
    assert_eq!(pages.sums(), sum(4.0), "a second or two are two clocks that do not go alike");
    pages.one(20_000, &counts(10));
    pages.one(21_000, &counts(12));
    assert_eq!(pages.sums(), sum(2.0));
    assert_eq!(pages.counted().series[0].samples.len(), 2);
}

#[test]
fn a_pod_that_is_not_read_for_a_while_is_not_counted_twice() {
    let mut pages = Pages::of("app/error-rate");
    let new = |pages: &Pages, n| Page { started: Some(1_200), ..pages.page("b", &counts(n)) };
    pages.one(500, &counts(10));
    pages.add(1_500, &[new(&pages, 4)]);
    pages.one(2_500, &counts(10));
    pages.add(3_500, &[new(&pages, 6)]);
    assert_eq!(pages.sums(), [sum(4.0), sum(0.0), sum(2.0)].concat());
}

#[test]
fn what_a_pod_counted_while_others_of_its_arm_were_read_is_of_the_time_since_its_last_page() {
    let mut pages = Pages::of("app/error-rate");
    pages.add(500, &[pages.page("a", &counts(10)), pages.page("b", &counts(10))]);
    pages.one(1_500, &counts(11));
    pages.one(2_500, &counts(12));
    let both = [counts(13), counts(40) + &format!("{COUNTER}{{code=\"500\"}} 7\n")];
    pages.add(3_500, &[pages.page("a", &both[0]), pages.page("b", &both[1])]);
    assert_eq!(
        pages.sums(),
        [("200", 3.0), ("500", 0.0), ("200", 30.0), ("500", 7.0)].map(|(code, by)| (code.into(), by))
    );
    let counted = pages.counted();
    assert_eq!(counted.series[2].samples, [(500, 0.0), (3_500, 30.0)]);
    assert_eq!(counted.series[2].labels["instance"], "b");
    // Where nobody was read meanwhile it is in the row.
    let mut pages = Pages::of("app/error-rate");
    pages.one(500, &counts(10));
    pages.one(9_500, &counts(30));
    assert_eq!(pages.sums(), sum(20.0));
}

#[test]
fn a_status_that_is_first_seen_late_counts_from_0() {
    let mut pages = Pages::of("app/error-rate");
    pages.one(500, &counts(10));
    pages.one(
        1_500,
        &(counts(12) + &format!("{COUNTER}{{code=\"500\",path=\"/a\"}} 3\n{COUNTER}{{code=\"500\",path=\"/b\"}} 2\n")),
    );
    assert_eq!(pages.sums(), [("200".to_owned(), 2.0), ("500".to_owned(), 5.0)]);
}

#[test]
fn edges_that_some_histogram_lacks_are_no_edges() {
    let bucket = |handler: &str, le: &str, n: i64| {
        format!("http_request_duration_seconds_bucket{{handler=\"{handler}\",le=\"{le}\"}} {n}\n")
    };
    let mut pages = Pages::of("app/latency");
    let first = |n: i64| bucket("/a", "0.1", n) + &bucket("/a", "1.0", n) + &bucket("/a", "+Inf", n);
    pages.one(500, &first(5));
    pages.one(1_500, &first(6));
    assert_eq!(pages.sums().len(), 3);
    pages.one(2_500, &(first(6) + &bucket("/b", "1", 4) + &bucket("/b", "+Inf", 4)));
    assert_eq!(pages.sums(), [("1".to_owned(), 5.0), ("inf".to_owned(), 5.0)]);
}

#[test]
fn a_page_with_what_no_counter_has_counts_for_nothing_and_is_said() {
    let mut pages = Pages::of("app/error-rate");
    pages.one(500, &counts(10));
    pages.one(1_500, &format!("{COUNTER}{{code=\"200\"}} NaN\n"));
    pages.one(2_500, &counts(13));
    assert_eq!(pages.sums(), sum(3.0));
    assert_eq!(pages.counted().series[0].samples.len(), 2, "that page is no beat");
    pages.one(3_500, &format!("{COUNTER}{{code=\"200\"}} -1\n"));
    assert_eq!(pages.scrapes.trouble(Arm::Canary), Some("pod a: a counter has the value -1"));
}

#[test]
fn what_could_grow_without_end_is_bounded() {
    let mut pages = Pages::of("app/error-rate");
    let many: Vec<_> = (0..=MOST_CLASSES).map(|code| format!("{COUNTER}{{code=\"{code}\"}} 1\n")).collect();
    pages.one(500, &many.concat());
    assert!(pages.scrapes.trouble(Arm::Canary).is_some_and(|why| why.contains("more than 256 kinds")));
    assert!(pages.counted().series.is_empty());
    let mut pages = Pages::of("app/error-rate");
    let codes: Vec<_> = (200..264).map(|code| format!("{COUNTER}{{code=\"{code}\"}} 1\n")).collect();
    let page = pages.page("a", &codes.concat());
    for at in 0..20_000 {
        pages.add(at * 1_000, std::slice::from_ref(&page));
    }
    let counted = pages.counted();
    let kept = counted.series[0].samples.len();
    assert!((MOST_SAMPLES / codes.len() / 2..=MOST_SAMPLES / codes.len()).contains(&kept), "{kept}");
    pages.add(20_000_000, &[Page { uid: "gone".into(), ..pages.page("gone", &counts(1)) }]);
    pages.one(20_001_000, &counts(1));
    let kept = pages.scrapes.counters.values().next().unwrap();
    assert!(!kept.pods.contains_key("gone"), "a pod that is gone is forgotten");
}

#[test]
fn rounds_that_come_out_of_order_are_left_out() {
    let mut pages = Pages::of("app/error-rate");
    pages.one(2_500, &counts(10));
    pages.one(1_500, &counts(12));
    pages.one(2_500, &counts(12));
    assert_eq!(pages.counted().series[0].samples, [(2_500, 0.0)]);
}
