//! How many pods the candidate needs for a weight, and how much weight its ready pods can carry.
use crate::{api::Step, vocab::Weight};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Pods that a step wants of the candidate when the Deployment has `replicas`.
///
/// With routes stable stays whole, so a weight needs its share of D; without, the ratio of pods is the share:
/// `c / (D + c) = w`, rounded to the nearest that is not less. A step without weight still has one pod to look at.
pub fn pods_for(step: &Step, replicas: i32, routed: bool) -> i32 {
    let share = if routed { step.weight.of(replicas) } else { beside(step.weight, replicas) };
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

/// The most weight that `ready` pods can carry when `replicas` carry everything.
pub fn carried_by(ready: usize, replicas: i32) -> Weight {
    if replicas <= 0 {
        return Weight::ZERO;
    }
    // A weight w needs ceil(D * w / 100) pods, so the largest w for r pods is floor(100 * r / D).
    let percent = (i64::try_from(ready).unwrap_or(i64::MAX).saturating_mul(100) / i64::from(replicas)).clamp(0, 100);
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

    proptest! {
        #[test]
        fn the_pods_of_a_weight_carry_it(weight in 0_u8..=100, replicas in 1_i32..2_000) {
            let pods = pods_for(&step(weight, None), replicas, true);
            prop_assert!(carried_by(usize::try_from(pods).unwrap(), replicas) >= Weight::new(weight).unwrap());
        }

        #[test]
        fn nothing_overflows(weight in 0_u8..=100, replicas in 0_i32..=i32::MAX) {
            for routed in [true, false] {
                let _ = pods_for(&step(weight, Some(replicas)), replicas, routed);
            }
            let _ = carried_by(usize::MAX, replicas);
        }
    }
}
