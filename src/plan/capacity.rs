//! How many pods the candidate needs for a weight, and how much weight its ready pods can carry.
use crate::{api::Step, vocab::Weight};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Pods that a step wants of the candidate when the Deployment has `replicas`.
///
/// With routes stable stays whole, so a weight needs its share of D; without, the ratio of pods is the share:
/// `c / (D + c) = w`, rounded to the nearest that is not less. A step without weight still has one pod to look at. Copies of
/// requests are work like any other.
pub fn pods_for(step: &Step, replicas: i32, routed: bool) -> i32 {
    let copies = step.mirror.and_then(|mirror| Weight::new(mirror.percent)).unwrap_or(Weight::ZERO);
    let weight = step.weight.max(copies);
    let share = if routed { weight.of(replicas) } else { beside(weight, replicas) };
    share.max(step.replicas.unwrap_or(0)).max(1)
}

fn beside(weight: Weight, replicas: i32) -> i32 {
    let (own, rest) = (i64::from(weight.percent()), i64::from(weight.rest().percent()).max(1));
    i32::try_from((i64::from(replicas) * own + rest - 1) / rest).unwrap_or(i32::MAX)
}

/// So many pods may be starting at once.
pub fn starting_at_once(limit: Option<&IntOrString>, replicas: i32) -> i32 {
    let pods = match limit {
        None => return i32::MAX,
        Some(IntOrString::Int(pods)) => *pods,
        Some(IntOrString::String(text)) => {
            percent(text).and_then(Weight::new).map_or(i32::MAX, |share| share.of(replicas))
        }
    };
    pods.max(1)
}

/// The number of a text like `25%`, from 1 to 100.
pub fn percent(text: &str) -> Option<u8> {
    text.strip_suffix('%')?.parse().ok().filter(|percent| (1..=100).contains(percent))
}

/// The number of a text like `125%`, from 101 to 1000.
pub fn more_than_all(text: &str) -> Option<u16> {
    text.strip_suffix('%')?.parse().ok().filter(|percent| (101..=1_000).contains(percent))
}

/// So many pods there may be of both revisions together, and never fewer than the Deployment has by itself; none where
/// nothing limits them.
pub fn most_pods(limit: Option<&IntOrString>, replicas: i32) -> Option<i32> {
    let most = match limit? {
        IntOrString::Int(pods) => *pods,
        IntOrString::String(text) => {
            let pods = (i64::from(replicas) * i64::from(more_than_all(text)?) + 99) / 100;
            i32::try_from(pods).unwrap_or(i32::MAX)
        }
    };
    Some(most.max(replicas))
}

/// The most weight that `ready` pods can carry when `replicas` carry everything.
pub fn carried_by(ready: i32, replicas: i32) -> Weight {
    if replicas <= 0 {
        return Weight::ZERO;
    }
    // A weight w needs ceil(D * w / 100) pods, so the largest w for r pods is floor(100 * r / D).
    let percent = (i64::from(ready) * 100 / i64::from(replicas)).clamp(0, 100);
    u8::try_from(percent).ok().and_then(Weight::new).unwrap_or(Weight::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(weight: u8, replicas: Option<i32>) -> Step {
        let mut step: Step = serde_json::from_value(serde_json::json!({"name": "s", "weight": weight})).unwrap();
        step.replicas = replicas;
        step
    }

    #[test]
    fn a_step_has_the_pods_that_its_weight_needs() {
        assert_eq!(pods_for(&step(0, None), 10, true), 1);
        assert_eq!(pods_for(&step(5, None), 10, true), 1);
        assert_eq!(pods_for(&step(21, None), 10, true), 3);
        assert_eq!(pods_for(&step(5, Some(4)), 10, true), 4);
        let shadow = |percent| Step { mirror: Some(crate::traffic::Mirror { percent }), ..step(0, None) };
        assert_eq!((pods_for(&shadow(100), 10, true), pods_for(&shadow(20), 10, true)), (10, 2), "copies are work too");
        assert_eq!(pods_for(&step(100, None), 10, true), 10);
    }

    #[test]
    fn without_routes_the_ratio_of_pods_is_the_weight() {
        assert_eq!(pods_for(&step(50, None), 4, false), 4);
        assert_eq!(pods_for(&step(20, None), 4, false), 1);
        assert_eq!(pods_for(&step(25, None), 4, false), 2);
    }

    #[test]
    fn at_least_one_pod_may_start() {
        let of = |limit: &IntOrString, replicas| starting_at_once(Some(limit), replicas);
        assert_eq!(of(&IntOrString::String("25%".to_owned()), 10), 3);
        assert_eq!(of(&IntOrString::String("1%".to_owned()), 10), 1);
        assert_eq!(of(&IntOrString::Int(2), 10), 2);
        assert_eq!(of(&IntOrString::Int(0), 10), 1);
        assert_eq!(starting_at_once(None, 10), i32::MAX);
    }

    #[test]
    fn a_limit_is_a_number_or_a_share_above_all_and_never_less_than_the_deployment() {
        let of = |limit: &IntOrString, replicas| most_pods(Some(limit), replicas);
        assert_eq!(of(&IntOrString::String("125%".to_owned()), 10), Some(13));
        assert_eq!(of(&IntOrString::String("101%".to_owned()), 1), Some(2));
        assert_eq!(of(&IntOrString::String("100%".to_owned()), 10), None, "which is refused before");
        assert_eq!(of(&IntOrString::Int(12), 10), Some(12));
        assert_eq!(of(&IntOrString::Int(8), 10), Some(10));
        assert_eq!(most_pods(None, 10), None);
    }

    proptest! {
        #[test]
        fn the_pods_of_a_weight_carry_it(weight in 0_u8..=100, replicas in 1_i32..2_000) {
            let pods = pods_for(&step(weight, None), replicas, true);
            prop_assert!(carried_by(pods, replicas) >= Weight::new(weight).unwrap());
        }

        #[test]
        fn nothing_overflows(weight in 0_u8..=100, replicas in 0_i32..=i32::MAX) {
            for routed in [true, false] {
                let _ = pods_for(&step(weight, Some(replicas)), replicas, routed);
            }
            let _ = carried_by(i32::MAX, replicas);
            let _ = most_pods(Some(&IntOrString::String("1000%".to_owned())), replicas);
        }
    }
}
