//! Why a route cannot carry the weights, each with what to write instead.

/// Why a route cannot carry the weights. Every text names the route, the rule and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsteerable {
    /// No router steers this kind.
    #[error("{route}: no router steers {api_version}; name a route of {known}")]
    UnknownKind {
        /// Kind and name of the route.
        route: String,
        /// The group and version that were named.
        api_version: String,
        /// What is steered.
        known: String,
    },
    /// Several routers steer this kind, each in its own way.
    #[error("{route}: routes of this kind are steered by {known}; say which in router")]
    WhichRouter {
        /// Kind and name of the route.
        route: String,
        /// Who steers it.
        known: String,
    },
    /// The router that was named does not steer this kind.
    #[error("{route}: router {named} does not steer routes of this kind; these do: {known}")]
    WrongRouter {
        /// Kind and name of the route.
        route: String,
        /// The router that was named.
        named: String,
        /// Who steers it.
        known: String,
    },
    /// A router steers this kind, and the settings of another way do not count.
    #[error("{route}: routes of this kind are steered by {known}; take custom out")]
    NotCustom {
        /// Kind and name of the route.
        route: String,
        /// Who steers it.
        known: String,
    },
    /// The object is not what its kind says.
    #[error("{route}: {field} is not {expected}")]
    Malformed {
        /// The route.
        route: String,
        /// Path of the field.
        field: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// No rule names both Services yet.
    #[error(
        "{route}: no rule names both Services ({seen}); write into each rule that should carry the rollout: \
         {lines}"
    )]
    NotPrepared {
        /// The route.
        route: String,
        /// What the rules name now.
        seen: String,
        /// The YAML to write, in one line.
        lines: String,
    },
    /// The object is not yet one that can carry a rollout.
    #[error("{route}: {why}; {lines}")]
    Unready {
        /// The route.
        route: String,
        /// What is missing.
        why: String,
        /// What to write, with the very lines.
        lines: String,
    },
    /// A rule names a Service more than once.
    #[error("{route}: {rule} names Service {service} more than once; leave one of them")]
    Duplicate {
        /// The route.
        route: String,
        /// The rule.
        rule: String,
        /// The Service.
        service: String,
    },
    /// A rule names a port that the two Services do not have.
    #[error(
        "{route}: {rule} names port {found} of Service {service}, and the two Services have {ports}; name one of these"
    )]
    WrongPort {
        /// The route.
        route: String,
        /// The rule.
        rule: String,
        /// The Service.
        service: String,
        /// The port that is named.
        found: String,
        /// The ports of both Services.
        ports: String,
    },
    /// A rule names another port of one Service than of the other.
    #[error("{route}: {rule} names port {stable} of the stable Service and {canary} of the canary's; make them equal")]
    PortsDiffer {
        /// The route.
        route: String,
        /// The rule.
        rule: String,
        /// The stable Service's.
        stable: String,
        /// The canary Service's.
        canary: String,
    },
    /// A rule sends requests to the canary that no weight counts.
    #[error(
        "{route}: {rule} names Service {canary} without {stable}, so its requests reach the canary whatever the \
         weight; name both or only {stable}"
    )]
    CanaryElsewhere {
        /// The route.
        route: String,
        /// The rule.
        rule: String,
        /// The stable Service.
        stable: String,
        /// The canary Service.
        canary: String,
    },
    /// A filter sends requests to the canary that no weight counts.
    #[error("{route}: the {filter} of {rule} sends requests to Service {canary} whatever the weight; remove it")]
    CanaryFiltered {
        /// The route.
        route: String,
        /// The rule.
        rule: String,
        /// What it is.
        filter: String,
        /// The canary Service.
        canary: String,
    },
    /// The two Services have no weight beside other backends.
    #[error(
        "{route}: in {rule} both Services have weight 0 beside other backends, so there is nothing to share; give \
         {stable} the weight the two should have together"
    )]
    NoShare {
        /// The route.
        route: String,
        /// The rule.
        rule: String,
        /// The stable Service.
        stable: String,
    },
    /// Beside other backends, the share is no whole number.
    #[error(
        "{route}: in {rule} both Services share {sum} beside other backends, and {percent} % of that is no whole \
         number; multiply every weight of this rule by {factor}"
    )]
    Indivisible {
        /// The route.
        route: String,
        /// The rule.
        rule: String,
        /// What both Services have together.
        sum: u64,
        /// The canary's share that was asked for.
        percent: u8,
        /// What makes every whole percent possible.
        factor: u64,
    },
    /// Beside other backends, the share is more than one backend may have.
    #[error(
        "{route}: in {rule} both Services share {sum} beside other backends, more than the {max} that one may \
         have; divide every weight of this rule"
    )]
    TooHeavy {
        /// The route.
        route: String,
        /// The rule.
        rule: String,
        /// What both Services have together.
        sum: u64,
        /// The most that one backend may have.
        max: u64,
    },
    /// A step asks for a match or a mirror that the route cannot have.
    #[error("{route}: the step's match or mirror cannot be written: {why}")]
    CannotMatch {
        /// The route.
        route: String,
        /// What is in the way.
        why: String,
    },
    /// The operator should write the route, and does not know which.
    #[error("{route}: ownership is Operator, so template.spec has to say what to write")]
    NoTemplate {
        /// The route.
        route: String,
    },
}

impl Unsteerable {
    /// A short stable word: the event's reason and the metric's label.
    pub fn category(&self) -> &'static str {
        match self {
            Self::UnknownKind { .. } => "UnknownKind",
            Self::WhichRouter { .. } => "WhichRouter",
            Self::WrongRouter { .. } => "WrongRouter",
            Self::NotCustom { .. } => "NotCustom",
            Self::Malformed { .. } => "RouteMalformed",
            Self::NotPrepared { .. } | Self::Unready { .. } => "RouteNotPrepared",
            Self::Duplicate { .. } => "DuplicateBackend",
            Self::WrongPort { .. } => "WrongPort",
            Self::PortsDiffer { .. } => "PortsDiffer",
            Self::CanaryElsewhere { .. } => "CanaryElsewhere",
            Self::CanaryFiltered { .. } => "CanaryFiltered",
            Self::NoShare { .. } => "NoShare",
            Self::Indivisible { .. } => "IndivisibleWeights",
            Self::TooHeavy { .. } => "WeightsTooHeavy",
            Self::CannotMatch { .. } => "CannotMatch",
            Self::NoTemplate { .. } => "NoTemplate",
        }
    }
}
