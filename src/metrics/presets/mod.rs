//! Ready-made metrics: one file each, and one line here.
mod app_error_rate;
mod app_latency;
mod traefik_error_rate;
mod traefik_latency;

/// Every preset of this build, in the order of the reference.
pub const ALL: &[&Preset] =
    &[&traefik_error_rate::PRESET, &traefik_latency::PRESET, &app_error_rate::PRESET, &app_latency::PRESET];

/// A metric whose series and labels are known.
#[derive(Debug)]
pub struct Preset {
    /// What a Rollout calls it.
    pub name: &'static str,
    /// What it measures, for the reference.
    pub about: &'static str,
    /// What is counted.
    pub kind: Kind,
    /// Where it is counted.
    pub place: Place,
    /// The counters' name.
    pub(super) series: &'static str,
}

/// What a preset counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests, and those of them that failed with a status of 500 or above.
    Errors,
    /// Requests by their duration, in the buckets of a histogram.
    Latency,
}

/// Where a preset counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the proxy in front of the pods, which also sees what a dying pod cannot report.
    Traefik,
    /// In the pods.
    Pods,
}

/// The preset of this name.
pub fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name).copied()
}

/// All names.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|preset| preset.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for preset in ALL {
            assert_eq!(find(preset.name).map(|found| found.about), Some(preset.about));
            assert!(preset.about.ends_with('.'), "{}", preset.name);
        }
        assert!(find("traefik/errors").is_none());
    }
}
