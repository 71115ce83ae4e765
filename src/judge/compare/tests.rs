//! What the comparison says of counts, and how strongly.
use super::{
    super::{
        Sensitivity,
        tests::{LATE, interval},
    },
    *,
};
use proptest::prelude::*;
use rand::{SeedableRng, rngs::ChaCha8Rng};
use rand_distr::{Binomial, Distribution};

fn among(margins: Margins) -> Rules {
    Rules { margins, bursts: Bursts::Unseen, block: 1, lasting: false }
}

fn rules(sensitivity: Sensitivity, bursts: Bursts) -> Rules {
    Rules { margins: sensitivity.margins(), bursts, block: 1, lasting: false }
}

/// Judges where errors are known to come one by one.
fn errors(intervals: &[Interval], sensitivity: Sensitivity) -> Judgement {
    super::errors(intervals, &rules(sensitivity, Bursts::Known(1.0)))
}

fn latency(edges: &[Edge], sensitivity: Sensitivity) -> Judgement {
    super::latency(edges, sensitivity.margins(), 1)
}

#[test]
fn three_of_four_errors_on_5_percent_of_the_traffic_fail() {
    let judged = errors(&[interval((25, 3, 475, 1))], Sensitivity::Normal);
    assert_eq!(judged.verdict, Verdict::Fail);
    assert!((judged.ln_m - 5.000_468_160_583).abs() < 1e-9);
    assert_eq!(judged.why, "3 of 4 errors fell on 5 % of the traffic; chance of a false alarm below 1 in 100");
    assert_eq!(errors(&[interval((25, 2, 475, 2))], Sensitivity::Normal).verdict, Verdict::Continue);
}

#[test]
fn a_failure_once_proven_stays() {
    let mut intervals: Vec<_> = LATE.map(interval).to_vec();
    assert_eq!(errors(&intervals, Sensitivity::Normal).verdict, Verdict::Fail);
    intervals.extend([interval((500, 0, 500, 40)); 20]);
    let judged = errors(&intervals, Sensitivity::Normal);
    assert_eq!(judged.verdict, Verdict::Fail);
    assert!((judged.ln_m - 16.163_569_814_611).abs() < 1e-9, "the greatest evidence is kept");
}

#[test]
fn a_shared_incident_is_not_the_canarys_fault() {
    let intervals = [interval((50, 10, 450, 90)); 60];
    assert_ne!(errors(&intervals, Sensitivity::Normal).verdict, Verdict::Fail);
}

#[test]
fn a_canary_under_the_floor_is_not_failed_for_being_worse_than_a_perfect_stable() {
    let judged = errors(&[interval((1_000, 1, 9_000, 0)); 5], Sensitivity::Normal);
    assert!(judged.ln_m > 4.6, "worse than stable beyond doubt: {}", judged.ln_m);
    assert_eq!(judged.verdict, Verdict::Continue, "{}", judged.why);
    assert!(judged.why.ends_with("that this hits more than 0.1 % of requests is not proven"), "{}", judged.why);
}

#[test]
fn what_was_worse_long_before_an_incident_of_both_is_not_failed_by_it() {
    let before = [interval((1_000, 1, 9_000, 0)); 5];
    let incident = [interval((1_000, 50, 9_000, 450)); 3];
    let judged = errors(&[&before[..], &incident[..]].concat(), Sensitivity::Normal);
    assert_ne!(judged.verdict, Verdict::Fail, "{}", judged.why);
    let own = [interval((1_000, 50, 9_000, 9)); 3];
    let judged = errors(&[&before[..], &own[..]].concat(), Sensitivity::Normal);
    assert_eq!(judged.verdict, Verdict::Fail, "{}", judged.why);
}

#[test]
fn another_floor_fails_what_the_usual_one_lets_be_and_the_other_way_round() {
    let judge = |floor, bursts, intervals: &[Interval]| {
        let margins = Margins { floor, ..Sensitivity::Normal.margins() };
        super::errors(intervals, &Rules { margins, bursts, block: 1, lasting: false })
    };
    for bursts in [Bursts::Known(1.0), Bursts::Known(5.0)] {
        let few = [interval((1_000, 1, 9_000, 0)); 60];
        assert_ne!(judge(FLOOR, bursts, &few).verdict, Verdict::Fail);
        assert_eq!(judge(0.000_05, bursts, &few).verdict, Verdict::Fail);
        let many = [interval((1_000, 30, 9_000, 90)); 60];
        assert_eq!(judge(FLOOR, bursts, &many).verdict, Verdict::Fail);
        assert_ne!(judge(0.05, bursts, &many).verdict, Verdict::Fail);
    }
    let words = judge(0.03, Bursts::Known(1.0), &[interval((1_000, 30, 9_000, 90)); 2]).why;
    assert!(words.ends_with("that this hits more than 3 % of requests is not proven"), "{words}");
}

/// Errors that come one by one, in bursts of five, and nobody knows how.
const WAYS_TO_COME: [Bursts; 3] = [Bursts::Known(1.0), Bursts::Known(5.0), Bursts::Unseen];

fn with_ceiling(ceiling: Option<f64>, bursts: Bursts) -> Rules {
    Rules { margins: Margins { ceiling, ..Sensitivity::Normal.margins() }, bursts, block: 1, lasting: false }
}

#[test]
fn errors_above_the_ceiling_fail_although_stable_has_as_many() {
    for bursts in WAYS_TO_COME {
        let incident = [interval((100, 10, 900, 90)); 40];
        let judge = |ceiling| super::errors(&incident, &with_ceiling(ceiling, bursts));
        let judged = judge(Some(0.05));
        assert_eq!(judged.verdict, Verdict::Fail, "{judged:?}");
        assert!(judged.ln_m >= 100.0_f64.ln() && judged.ln_now >= 100.0_f64.ln(), "{judged:?}");
        for ceiling in [None, Some(0.2)] {
            let judged = judge(ceiling);
            assert!(matches!(judged.verdict, Verdict::Continue | Verdict::Pass), "{judged:?}");
        }
    }
}

#[test]
fn errors_below_the_ceiling_never_fail_an_equal_canary() {
    for bursts in WAYS_TO_COME {
        let mut errors = Errors::new(&with_ceiling(Some(0.05), bursts));
        for at in 0..500 {
            errors.add(&interval((100, 2, 900, 18)));
            assert!(!errors.fails(), "{bursts:?} after {at}");
        }
        assert!(errors.passes(), "{bursts:?}");
    }
}

#[test]
fn the_ceiling_needs_no_requests_of_stable_and_what_is_below_it_is_not_known_without_them() {
    for bursts in WAYS_TO_COME {
        let judge = |bad, ceiling| super::errors(&[interval((100, bad, 0, 0)); 20], &with_ceiling(ceiling, bursts));
        let judged = judge(30, Some(0.05));
        assert_eq!(judged.verdict, Verdict::Fail, "{judged:?}");
        assert!(judged.why.starts_with("600 of 2,000 of the canary's requests went wrong"), "{}", judged.why);
        assert!(judged.ln_now <= judged.ln_m && judged.ln_m >= 100.0_f64.ln(), "{judged:?}");
        for judged in [judge(30, None), judge(1, Some(0.05))] {
            assert_eq!(judged.verdict, Verdict::Unknown, "{judged:?}");
            assert_eq!(judged.why, "there was no interval in which both arms had requests");
        }
    }
}

#[test]
fn a_failure_by_the_ceiling_stays_and_says_what_was_seen_then() {
    let rules = with_ceiling(Some(0.05), Bursts::Known(1.0));
    let mut intervals = vec![interval((200, 31, 1_800, 279))];
    let first = super::errors(&intervals, &rules);
    assert_eq!(
        first.why,
        "31 of 200 of the canary's requests went wrong, more than the ceiling of 5 %; chance of a false alarm below 1 in \
         200,000"
    );
    intervals.extend([interval((200, 0, 1_800, 0)); 5]);
    let later = super::errors(&intervals, &rules);
    assert_eq!((later.verdict, later.ln_m.to_bits()), (Verdict::Fail, first.ln_m.to_bits()));
    assert!(later.ln_now < first.ln_now, "{later:?}");
    assert_eq!(
        later.why,
        "31 of the canary's first 200 requests went wrong, more than the ceiling of 5 %; chance of a false alarm below 1 \
         in 200,000"
    );
}

#[test]
fn a_ceiling_takes_half_of_what_the_comparison_may_be_wrong() {
    let judge = |times, ceiling| {
        let intervals = vec![interval((25, 3, 475, 1)); times];
        super::errors(&intervals, &with_ceiling(ceiling, Bursts::Known(1.0)))
    };
    // Its evidence is 148: more than 100, and less than 200.
    assert_eq!([None, Some(0.5)].map(|ceiling| judge(1, ceiling).verdict), [Verdict::Fail, Verdict::Continue]);
    for (ceiling, words) in [(None, "40,000"), (Some(0.5), "20,000")] {
        let words = format!("6 of 8 errors fell on 5 % of the traffic; chance of a false alarm below 1 in {words}");
        assert_eq!(judge(2, ceiling).why, words);
    }
}

#[test]
fn what_is_known_at_present_is_the_mean_of_both_ways_to_fail() {
    let mut errors = Errors::new(&with_ceiling(Some(0.05), Bursts::Known(1.0)));
    for look in LATE {
        errors.add(&interval(look));
        let compared = errors.worse.ln().min(errors.above.ln());
        let against_ceiling = errors.ceiling.as_ref().unwrap().above.ln();
        let mean = f64::midpoint(compared.exp(), against_ceiling.exp());
        assert!((errors.ln_now() - mean.ln()).abs() < 1e-9, "{look:?}");
    }
}

#[test]
fn a_canary_at_the_ceiling_that_is_as_good_as_stable_fails_at_most_as_often_as_is_promised() {
    for (size, bursts) in [(1, Bursts::Known(1.0)), (5, Bursts::Known(5.0))] {
        let rules = with_ceiling(Some(0.05), bursts);
        let rules = Rules { margins: Margins { alpha: 0.1, ..rules.margins }, ..rules };
        // By one way or the other, or by both together as several metrics are judged.
        let fails = |seed, times: f64| {
            let mut chance = ChaCha8Rng::seed_from_u64(seed);
            let causes = Binomial::new(100 / size, 0.05 * times).unwrap();
            let mut errors = Errors::new(&rules);
            (0..30).any(|_| {
                let mut arm = || Counts::new(100, size * causes.sample(&mut chance));
                errors.add(&Interval { canary: arm(), stable: arm() });
                errors.fails() || errors.ln_now() >= 10.0_f64.ln()
            })
        };
        let failed = (0..2_000).filter(|seed| fails(*seed, 1.0)).count();
        assert!(failed <= 200, "{bursts:?}: {failed} of 2,000");
        let failed = (0..20).filter(|seed| fails(*seed, 4.0)).count();
        assert_eq!(failed, 20, "{bursts:?}");
    }
}

#[test]
fn an_equal_canary_passes_and_new_errors_take_the_pass_away() {
    let mut intervals = [interval((100, 0, 900, 5)), interval((100, 1, 900, 4))].repeat(60);
    let judged = errors(&intervals, Sensitivity::Normal);
    assert_eq!(judged.verdict, Verdict::Pass, "{}", judged.why);
    intervals.extend([interval((100, 6, 900, 5)); 12]);
    assert_ne!(errors(&intervals, Sensitivity::Normal).verdict, Verdict::Pass);
}

#[test]
fn a_service_without_errors_passes_by_the_number_of_its_requests() {
    let few = [interval((10, 0, 90, 0)); 100];
    assert_eq!(errors(&few, Sensitivity::Normal).verdict, Verdict::Continue);
    let many = [interval((100, 0, 900, 0)); 60];
    let judged = errors(&many, Sensitivity::Normal);
    assert_eq!(judged.verdict, Verdict::Pass);
    assert_eq!(judged.why, "no errors on either side; chance of being wrong below 1 in 40");
}

#[test]
fn an_arm_without_requests_proves_nothing() {
    for intervals in [vec![], vec![interval((0, 0, 500, 9))], vec![interval((500, 9, 0, 0)); 9]] {
        let judged = errors(&intervals, Sensitivity::High);
        assert_eq!((judged.verdict, judged.ln_m), (Verdict::Unknown, 0.0));
    }
    assert_eq!(latency(&[], Sensitivity::High).verdict, Verdict::Unknown);
}

#[test]
fn higher_sensitivity_never_sees_less() {
    let seen = [Sensitivity::Low, Sensitivity::Normal, Sensitivity::High].map(|s| errors(&LATE.map(interval), s).ln_m);
    assert!(seen.is_sorted(), "{seen:?}");
}

fn edge(seconds: f64, certifies: bool, counts: (u64, u64, u64, u64), times: usize) -> Edge {
    Edge { seconds, certifies, bursts: Bursts::Known(1.0), intervals: vec![interval(counts); times] }
}

#[test]
fn one_slow_edge_among_four_fails_and_is_named() {
    let mut edges = [0.05, 0.1, 0.5].map(|seconds| edge(seconds, true, (50, 3, 450, 27), 12)).to_vec();
    edges.push(edge(0.25, true, (50, 10, 450, 9), 12));
    let judged = latency(&edges, Sensitivity::Normal);
    assert_eq!(judged.verdict, Verdict::Fail);
    assert!(judged.why.starts_with("120 of 228 requests slower than 250 ms fell on 10 %"), "{}", judged.why);
    assert_eq!(judged.canary, Counts::new(600, 120));
}

#[test]
fn edges_that_are_not_known_yet_count_as_if_they_proved_nothing() {
    let edges = [edge(0.25, true, (50, 10, 450, 9), 12)];
    let margins = Sensitivity::Normal.margins();
    let (one, of_many) = (super::latency(&edges, margins, 1), latency_among(&edges, 32, &among(margins)));
    assert!((one.ln_m - of_many.ln_m - 32_f64.ln()).abs() < 1e-9);
    assert_eq!(latency_among(&[], 32, &among(margins)).verdict, Verdict::Unknown);
}

#[test]
fn every_edge_that_certifies_must_be_proven() {
    let good = |seconds| edge(seconds, true, (100, 5, 900, 45), 60);
    assert_eq!(latency(&[good(0.1), good(0.3)], Sensitivity::Normal).verdict, Verdict::Pass);
    let thin = edge(1.0, true, (100, 0, 900, 0), 60);
    assert_eq!(latency(&[good(0.1), thin.clone()], Sensitivity::Normal).verdict, Verdict::Continue);
    let watched = Edge { certifies: false, ..thin };
    assert_eq!(latency(&[good(0.1), watched.clone()], Sensitivity::Normal).verdict, Verdict::Pass);
    assert_eq!(latency(&[watched], Sensitivity::Normal).verdict, Verdict::Continue, "nothing certifies");
}

#[test]
fn one_burst_fails_nobody_whose_past_is_not_known_or_full_of_bursts() {
    let burst = [interval((25, 0, 475, 2)), interval((25, 6, 475, 0)), interval((25, 0, 475, 2))];
    assert_eq!(errors(&burst, Sensitivity::Normal).verdict, Verdict::Fail, "six single errors would be too many");
    for bursts in [Bursts::Unseen, Bursts::Unknown(12), Bursts::Known(5.0)] {
        let judged = super::errors(&burst, &rules(Sensitivity::Normal, bursts));
        assert_eq!(judged.verdict, Verdict::Continue, "{}", judged.why);
        assert!(judged.why.contains("blocks of 10 s and more are compared"), "{}", judged.why);
    }
}

#[test]
fn a_canary_that_always_fails_is_found_at_once_whatever_is_known() {
    for share in [(25, 475), (250, 250)] {
        let all = [interval((share.0, share.0, share.1, 0)); 2];
        let judged = super::errors(&all, &rules(Sensitivity::Normal, Bursts::Unseen));
        assert_eq!(judged.verdict, Verdict::Fail, "{judged:?}");
    }
}

#[test]
fn two_bursts_of_a_dozen_errors_fail_nobody_whose_past_is_not_known() {
    let bursts = [interval((50, 12, 450, 0)); 2];
    for unknown in [Bursts::Unseen, Bursts::Unknown(150)] {
        let judged = super::errors(&bursts, &rules(Sensitivity::Normal, unknown));
        assert_eq!(judged.verdict, Verdict::Continue, "{judged:?}");
    }
}

#[test]
fn the_second_way_to_pass_costs_the_first_one_little() {
    let seen = [interval((100, 0, 900, 5)), interval((100, 1, 900, 4))].repeat(30);
    let mut errors = Errors::new(&rules(Sensitivity::Normal, Bursts::Known(1.0)));
    for interval in &seen {
        errors.add(interval);
    }
    let cost = errors.better.ln() - errors.ln_pass();
    assert!(cost > 0.0 && cost < 0.29, "{cost}");
}

#[test]
fn bursts_that_go_on_fail_in_the_end_and_what_is_equal_passes() {
    let rules = rules(Sensitivity::Normal, Bursts::Known(5.0));
    let worse = [interval((50, 5, 450, 4)); 30];
    assert_eq!(super::errors(&worse, &rules).verdict, Verdict::Fail);
    let equal = [interval((250, 3, 250, 3)); 200];
    assert_eq!(super::errors(&equal, &rules).verdict, Verdict::Pass);
}

#[test]
fn edges_are_written_for_people() {
    assert_eq!([0.3, 0.005, 2.5, 10.0].map(seconds), ["300 ms", "5 ms", "2.5 s", "10 s"]);
}

proptest! {
    #[test]
    fn any_counts_are_judged_with_finite_evidence(
        counts in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()), 0..20),
    ) {
        let intervals: Vec<_> = counts.into_iter()
            .map(|(n_c, x_c, n_s, x_s)| Interval { canary: Counts { n: n_c, x: x_c }, stable: Counts { n: n_s, x: x_s } })
            .collect();
        for bursts in [Bursts::Known(1.0), Bursts::Known(7.0), Bursts::Unseen] {
            for ceiling in [None, Some(0.05), Some(0.999_999)] {
                let judged = super::errors(&intervals, &with_ceiling(ceiling, bursts));
                prop_assert!(judged.ln_m.is_finite() && judged.ln_pass.is_finite(), "{judged:?}");
                prop_assert!(judged.ln_now <= judged.ln_m, "{judged:?}");
            }
        }
        let judged = latency(&[Edge { seconds: 0.1, certifies: true, bursts: Bursts::Unseen, intervals }], Sensitivity::Low);
        prop_assert!(judged.ln_m.is_finite() && judged.ln_pass.is_finite(), "{judged:?}");
    }
}

#[test]
fn a_comparison_of_latency_says_why_it_compares_blocks_where_nothing_is_proven() {
    let told = |bursts| {
        let edge = Edge { bursts, ..edge(0.1, true, (50, 5, 450, 45), 2) };
        super::latency(&[edge], Sensitivity::Normal.margins(), 1).why
    };
    let said = "10 of 100 requests slower than 100 ms fell on 10 % of the traffic; nothing is proven yet";
    assert_eq!(told(Bursts::Known(1.0)), said);
    assert_eq!(
        told(Bursts::Known(5.0)),
        format!("{said}; requests that slow come in bursts of 5.0 here, so blocks of 10 s and more are compared")
    );
    let few =
        "stable's last 10 minutes had 12 requests that slow and it takes 200 to say that they do not come in bursts";
    assert_eq!(told(Bursts::Unknown(12)), format!("{said}; blocks of 10 s and more are compared, for {few}"));
}
