//! From an observation to a row of the network's input. The checkpoint names its features; here is
//! what each name means.

use std::borrow::Cow;

use crate::history::ContainerHistory;
use crate::observation::Observation;
use crate::policy::Policy;
use crate::resource::{PerResource, Resource};
use crate::traits::{Trait, Traits};

/// How many containers count as 1 in the normalised container count.
const CONTAINERS: f64 = 10.0;
/// The share of the guard's window that counts as recent.
const RECENT: f64 = 1.0 / 12.0;
const HOUR: i64 = 3600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    CpuUsage,
    MemoryUsage,
    NetworkLatency,
    ContainerCount,
    CpuTrend,
    MemoryTrend,
    CpuAllocation,
    MemoryAllocation,
    CpuRecentPeak,
    MemoryRecentPeak,
    CpuPeak,
    MemoryPeak,
    CpuFloor,
    MemoryFloor,
    SinceResize,
    SinceOomKill,
    Observed,
    /// Of how the container uses a resource.
    Of(Resource, Trait),
    /// The same as [`Self::SinceResize`] and [`Self::Observed`] over longer times.
    SinceResizeLong,
    ObservedLong,
    /// How large the container is.
    Size(Resource),
}

/// The traits that a model may ask for, with their names; each is of a resource, which stands
/// before the name.
const TRAITS: [(Trait, &str, &str); 17] = [
    (Trait::Mean, "mean", "mean of the last samples"),
    (Trait::Usage, "last", "last sample"),
    (Trait::Peak(1), "peak_1", "peak of the newest 24th of the guard's window"),
    (Trait::Peak(2), "peak_2", "peak of the newest two 24ths"),
    (Trait::Peak(3), "peak_3", "peak of the newest three 24ths"),
    (Trait::Peak(6), "peak_6", "peak of the newest six 24ths"),
    (Trait::Peak(12), "peak_12", "peak of the newest twelve 24ths"),
    (Trait::Peak(24), "peak_24", "peak of the guard's window"),
    (Trait::LowPeak(3), "low_peak_3", "smallest peak of the newest three 24ths"),
    (Trait::LowPeak(24), "low_peak_24", "smallest peak of a 24th of the guard's window"),
    (Trait::MeanPeak, "mean_peak", "mean of the peaks of the 24ths"),
    (Trait::Volatility, "volatility", "deviation of the peaks of the 24ths"),
    (Trait::Rise, "rise", "largest rise from one 24th to the next"),
    (Trait::Known, "known", "share of the guard's window that is known"),
    (Trait::Typical, "typical", "typical use"),
    (Trait::Limit, "limit", "limit"),
    (Trait::Full, "full", "whether the limit is used up"),
];

/// Features that tell of the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureGroup {
    UsageNow,
    Peaks,
    Variation,
    TypicalUse,
    Limit,
    Time,
    Size,
    Other,
}

impl FeatureGroup {
    pub const ALL: [Self; 8] = [
        Self::UsageNow,
        Self::Peaks,
        Self::Variation,
        Self::TypicalUse,
        Self::Limit,
        Self::Time,
        Self::Size,
        Self::Other,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::UsageNow => "usage now",
            Self::Peaks => "recent peaks",
            Self::Variation => "variation",
            Self::TypicalUse => "typical use",
            Self::Limit => "limit",
            Self::Time => "time",
            Self::Size => "size",
            Self::Other => "other",
        }
    }
}

/// What the values of a row are computed from.
struct Seen<'a> {
    observation: &'a Observation,
    history: &'a ContainerHistory,
    policy: &'a Policy,
    traits: Option<PerResource<Traits>>,
}

impl Feature {
    /// The eight documented features, in their order.
    pub const DOCUMENTED: [Self; 8] = [
        Self::CpuUsage,
        Self::MemoryUsage,
        Self::NetworkLatency,
        Self::ContainerCount,
        Self::CpuTrend,
        Self::MemoryTrend,
        Self::CpuAllocation,
        Self::MemoryAllocation,
    ];

    /// What a model may ask for beside them.
    const FURTHER: [Self; 9] = [
        Self::CpuRecentPeak,
        Self::MemoryRecentPeak,
        Self::CpuPeak,
        Self::MemoryPeak,
        Self::CpuFloor,
        Self::MemoryFloor,
        Self::SinceResize,
        Self::SinceOomKill,
        Self::Observed,
    ];

    /// The name in a checkpoint's metadata.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::CpuUsage => "cpu_usage",
            Self::MemoryUsage => "memory_usage",
            Self::NetworkLatency => "network_latency",
            Self::ContainerCount => "container_count",
            Self::CpuTrend => "cpu_trend",
            Self::MemoryTrend => "memory_trend",
            Self::CpuAllocation => "cpu_allocation",
            Self::MemoryAllocation => "memory_allocation",
            Self::CpuRecentPeak => "cpu_recent_peak",
            Self::MemoryRecentPeak => "memory_recent_peak",
            Self::CpuPeak => "cpu_peak",
            Self::MemoryPeak => "memory_peak",
            Self::CpuFloor => "cpu_floor",
            Self::MemoryFloor => "memory_floor",
            Self::SinceResize => "since_resize",
            Self::SinceOomKill => "since_oom_kill",
            Self::Observed => "observed",
            Self::SinceResizeLong => "since_resize_long",
            Self::ObservedLong => "observed_long",
            Self::Size(resource) => return Cow::Owned(format!("{}_size", resource.name())),
            Self::Of(resource, of) => {
                let name =
                    TRAITS.iter().find(|(known, ..)| *known == of).map_or("", |(_, name, _)| name);
                return Cow::Owned(format!("{}_{name}", resource.name()));
            }
        })
    }

    /// The name in the API's `state_features`.
    pub fn label(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::CpuUsage => "CPU usage (normalized)",
            Self::MemoryUsage => "Memory usage (normalized)",
            Self::NetworkLatency => "Network latency (placeholder)",
            Self::ContainerCount => "Container count (normalized)",
            Self::CpuTrend => "CPU trend",
            Self::MemoryTrend => "Memory trend",
            Self::CpuAllocation => "CPU allocation (normalized)",
            Self::MemoryAllocation => "Memory allocation (normalized)",
            Self::CpuRecentPeak => {
                "CPU peak of the newest twelfth of the guard's window (share of the limit)"
            }
            Self::MemoryRecentPeak => {
                "Memory peak of the newest twelfth of the guard's window (share of the limit)"
            }
            Self::CpuPeak => "CPU peak of the guard's window (share of the limit)",
            Self::MemoryPeak => "Memory peak of the guard's window (share of the limit)",
            Self::CpuFloor => {
                "Lowest CPU limit that the guard allows (share of 1.5 times the limit)"
            }
            Self::MemoryFloor => {
                "Lowest memory limit that the guard allows (share of 1.5 times the limit)"
            }
            Self::SinceResize => "Time since the last resize (hours, at most 1)",
            Self::SinceOomKill => "Time since the last OOM kill (days, at most 1)",
            Self::Observed => "Time since the first measurement (days, at most 1)",
            Self::SinceResizeLong => "Time since the last resize (four hours, at most 1)",
            Self::ObservedLong => "Time since the first measurement (logarithm of hours)",
            Self::Size(resource) => return Cow::Owned(format!("{} (logarithm)", resource.label())),
            Self::Of(resource, of) => {
                let label =
                    TRAITS.iter().find(|(known, ..)| *known == of).map_or("", |(.., label)| label);
                return Cow::Owned(format!("{}: {label}", resource.label()));
            }
        })
    }

    pub fn group(self) -> FeatureGroup {
        match self {
            Self::CpuUsage | Self::MemoryUsage | Self::CpuTrend | Self::MemoryTrend => {
                FeatureGroup::UsageNow
            }
            Self::CpuRecentPeak
            | Self::MemoryRecentPeak
            | Self::CpuPeak
            | Self::MemoryPeak
            | Self::CpuFloor
            | Self::MemoryFloor => FeatureGroup::Peaks,
            Self::CpuAllocation | Self::MemoryAllocation => FeatureGroup::Limit,
            Self::SinceResize
            | Self::SinceOomKill
            | Self::Observed
            | Self::SinceResizeLong
            | Self::ObservedLong => FeatureGroup::Time,
            Self::Size(_) => FeatureGroup::Size,
            Self::NetworkLatency | Self::ContainerCount => FeatureGroup::Other,
            Self::Of(_, of) => match of {
                Trait::Mean | Trait::Usage | Trait::Full => FeatureGroup::UsageNow,
                Trait::Peak(_) | Trait::LowPeak(_) | Trait::MeanPeak => FeatureGroup::Peaks,
                Trait::Volatility | Trait::Rise => FeatureGroup::Variation,
                Trait::Typical => FeatureGroup::TypicalUse,
                Trait::Limit => FeatureGroup::Limit,
                Trait::Known => FeatureGroup::Time,
            },
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        let known = |feature: &Self| feature.name() == name || feature.label() == name;
        Self::all().find(known)
    }

    /// All there are, the documented ones first.
    fn all() -> impl Iterator<Item = Self> {
        let of = |resource| TRAITS.iter().map(move |(of, ..)| Self::Of(resource, *of));
        Self::DOCUMENTED
            .into_iter()
            .chain(Self::FURTHER)
            .chain(of(Resource::Cpu))
            .chain(of(Resource::Memory))
            .chain([Self::Size(Resource::Cpu), Self::Size(Resource::Memory)])
            .chain([Self::SinceResizeLong, Self::ObservedLong])
    }

    fn value(self, seen: &Seen<'_>) -> f32 {
        let Seen { observation, history, policy, traits } = seen;
        let trend = |resource| history.trend(resource, observation.limit[resource]);
        let share = |resource: Resource, amount: f64| {
            (amount / observation.limit[resource].max(1e-9)).min(1.0)
        };
        let recent = |resource| share(resource, history.recent_peak(resource, RECENT));
        let peak = |resource| share(resource, history.peak(resource));
        // May be above the limit: after a cut that a later peak would have forbidden.
        let floor = |resource| share(resource, history.lowest_safe_limit(resource, policy) / 1.5);
        let since = |then: Option<i64>, longest: i64| {
            then.map_or(1.0, |then| {
                ((observation.at - then) as f64 / longest as f64).clamp(0.0, 1.0)
            })
        };
        let value = match self {
            Self::CpuUsage => observation.utilization(Resource::Cpu).clamp(0.0, 1.0),
            Self::MemoryUsage => observation.utilization(Resource::Memory).clamp(0.0, 1.0),
            Self::NetworkLatency => 0.0,
            Self::ContainerCount => (observation.containers as f64 / CONTAINERS).min(1.0),
            Self::CpuTrend => trend(Resource::Cpu),
            Self::MemoryTrend => trend(Resource::Memory),
            Self::CpuAllocation => observation.limit.cpu / policy.max.cpu,
            Self::MemoryAllocation => observation.limit.memory / policy.max.memory,
            Self::CpuRecentPeak => recent(Resource::Cpu),
            Self::MemoryRecentPeak => recent(Resource::Memory),
            Self::CpuPeak => peak(Resource::Cpu),
            Self::MemoryPeak => peak(Resource::Memory),
            Self::CpuFloor => floor(Resource::Cpu),
            Self::MemoryFloor => floor(Resource::Memory),
            Self::SinceResize => since(history.resized_at.get(), HOUR),
            Self::SinceOomKill => {
                since(observation.oom_kill.map(|kill| kill.finished_at), 24 * HOUR)
            }
            Self::Observed => (history.observed_for() as f64 / (24 * HOUR) as f64).min(1.0),
            Self::Of(resource, of) => {
                return traits.as_ref().map_or(0.0, |traits| traits[resource].value(of));
            }
            Self::SinceResizeLong => since(history.resized_at.get(), 4 * HOUR),
            Self::ObservedLong => (history.observed_for() as f64 / HOUR as f64).ln_1p() / 5.0,
            Self::Size(Resource::Cpu) => observation.usage.cpu.max(1e-3).ln() / 5.0,
            Self::Size(Resource::Memory) => observation.usage.memory.max(1.0).ln() / 10.0,
        };
        value as f32
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the model needs a feature named {0:?}, which this version does not know")]
pub struct UnknownFeature(String);

/// The features that a network was trained with, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureSet(Vec<Feature>);

impl FeatureSet {
    pub fn documented() -> Self {
        Self(Feature::DOCUMENTED.to_vec())
    }

    pub fn from_names<S: AsRef<str>>(names: &[S]) -> Result<Self, UnknownFeature> {
        let parse = |name: &S| {
            Feature::parse(name.as_ref()).ok_or_else(|| UnknownFeature(name.as_ref().to_owned()))
        };
        names.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub fn names(&self) -> Vec<String> {
        self.iter().map(|feature| feature.name().into_owned()).collect()
    }

    /// The documented features and all further ones.
    pub fn extended() -> Self {
        Self(Feature::all().collect())
    }

    /// These, and all others after them.
    pub fn and_all(&self) -> Self {
        let others = Feature::all().filter(|feature| !self.0.contains(feature));
        Self(self.iter().chain(others).collect())
    }

    /// Whether it tells enough of a container's past to say how much room it needs.
    fn tells_traits(&self) -> bool {
        self.iter().any(|feature| matches!(feature, Feature::Of(..)))
    }

    /// The columns of each group that is among them.
    pub fn groups(&self) -> Vec<(FeatureGroup, Vec<usize>)> {
        let columns = |group: FeatureGroup| {
            let ours = self.iter().enumerate().filter(|(_, feature)| feature.group() == group);
            ours.map(|(column, _)| column).collect::<Vec<_>>()
        };
        let groups = FeatureGroup::ALL.into_iter().map(|group| (group, columns(group)));
        groups.filter(|(_, columns)| !columns.is_empty()).collect()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Feature> + '_ {
        self.0.iter().copied()
    }

    /// Appends one row to a row-major matrix.
    pub fn extend_row(
        &self,
        rows: &mut Vec<f32>,
        observation: &Observation,
        history: &ContainerHistory,
        policy: &Policy,
    ) {
        let traits = self.tells_traits().then(|| {
            PerResource::build(|resource| Traits::of(resource, observation, history, policy))
        });
        let seen = Seen { observation, history, policy, traits };
        rows.extend(self.iter().map(|feature| feature.value(&seen)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::PerResource;

    #[test]
    fn a_row_holds_the_documented_features_in_their_order() {
        let (mut history, policy) = (ContainerHistory::default(), Policy::default());
        let (usage, limit) = (PerResource::new(0.1, 600.0), PerResource::new(0.5, 512.0));
        let mut observation =
            Observation { containers: 2, ..Observation::measured(0, usage, limit) };
        history.observe(&observation, &policy, 0);
        observation.at = 30;
        observation.usage.cpu = 0.15;
        history.observe(&observation, &policy, 30);
        let mut row = Vec::new();
        FeatureSet::documented().extend_row(&mut row, &observation, &history, &policy);
        let expected = [0.3, 1.0, 0.0, 0.2, 0.1, 0.0, 0.0625, 0.03125];
        for (got, want) in row.iter().zip(expected) {
            assert!((got - want).abs() < 1e-6, "{row:?}");
        }
    }

    #[test]
    fn names_and_labels_are_understood_and_others_refused() {
        let names: Vec<_> = Feature::DOCUMENTED.iter().map(|f| f.name()).collect();
        assert_eq!(FeatureSet::from_names(&names).unwrap(), FeatureSet::documented());
        let labels: Vec<_> = Feature::DOCUMENTED.iter().map(|f| f.label()).collect();
        assert_eq!(FeatureSet::from_names(&labels).unwrap(), FeatureSet::documented());
        assert!(
            FeatureSet::from_names(&["gpu_usage"]).unwrap_err().to_string().contains("gpu_usage")
        );
    }
}
