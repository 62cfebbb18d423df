//! What annotations on a pod, or on the workload behind it, ask for. What is not understood is
//! never guessed: the pod is then left alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use crate::names::is_dns_label;
use crate::policy::{Controls, Policy};
use crate::quantity;
use crate::resource::{PerResource, Resource};

pub const PREFIX: &str = "dqn-scaler.io/";
/// The annotation that says what the template gives to the containers of a pod that was made with
/// something else: `app=500m,512Mi,1,1Gi;proxy=…`, each with the requests and limits of CPU and
/// memory.
pub const BORN: &str = "born";
/// No start takes more seconds.
const LONGEST_STARTUP: i64 = 3600;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Not even decided on.
    Off,
    /// Decided on, never changed.
    Recommend,
    /// As the service is configured: its dry run wins.
    Live,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodOverrides {
    pub mode: Option<Mode>,
    /// Bounds of the pod's limit: cores and MiB.
    pub min: PerResource<Option<f64>>,
    pub max: PerResource<Option<f64>>,
    pub up_only: Option<bool>,
    pub controls: Option<Controls>,
    /// Resources whose change restarts the container are changed all the same.
    pub restarts_allowed: Option<bool>,
    /// What cannot be had in place may go into the template.
    pub fallback: Option<bool>,
    /// For how many seconds after its start a container starts.
    pub startup: Option<i64>,
    /// The containers that are scaled; the others are as if they were not there.
    pub containers: Option<BTreeSet<String>>,
    /// The first annotation that is not understood.
    pub fault: Option<String>,
}

impl PodOverrides {
    /// None where there is no annotation of this service, as on most pods.
    pub fn parse(annotations: Option<&BTreeMap<String, String>>) -> Option<Self> {
        let mut overrides: Option<Self> = None;
        for (name, value) in annotations.into_iter().flatten() {
            let Some(option) = name.strip_prefix(PREFIX).filter(|of| *of != BORN) else { continue };
            let overrides = overrides.get_or_insert_default();
            if let Err(problem) = overrides.set(option, value.trim()) {
                overrides.fault.get_or_insert_with(|| format!("annotation {name}: {problem}"));
            }
        }
        overrides
    }

    fn set(&mut self, option: &str, value: &str) -> Result<(), String> {
        let amount = |resource, example| amount(resource, value, example);
        let cores = || amount(Resource::Cpu, "cores, such as 500m or 2");
        let mib = || match amount(Resource::Memory, "bytes, such as 256Mi or 2Gi")? {
            mib if mib < 1.0 => {
                Err(format!("{value:?} is less than 1Mi: it needs a unit, such as 256Mi or 2Gi"))
            }
            mib => Ok(mib),
        };
        match option {
            "mode" => {
                self.mode = Some(match value {
                    "off" => Mode::Off,
                    "recommend" => Mode::Recommend,
                    "live" => Mode::Live,
                    _ => return Err(format!("{value:?} is none of off, recommend and live")),
                });
            }
            "scale" => {
                self.up_only = Some(match value {
                    "up-only" => true,
                    "both" => false,
                    _ => return Err(format!("{value:?} is neither up-only nor both")),
                });
            }
            "fallback" => {
                self.fallback = Some(match value {
                    "template" => true,
                    "never" => false,
                    _ => return Err(format!("{value:?} is neither template nor never")),
                });
            }
            "restarts" => {
                self.restarts_allowed = Some(match value {
                    "allowed" => true,
                    "never" => false,
                    _ => return Err(format!("{value:?} is neither allowed nor never")),
                });
            }
            "controls" => {
                let controls = Controls::parse(value);
                self.controls =
                    Some(controls.ok_or_else(|| {
                        format!("{value:?} is none of both, requests and limits")
                    })?);
            }
            "startup" => self.startup = Some(seconds(value)?),
            "min-cpu" => self.min.cpu = Some(cores()?),
            "max-cpu" => self.max.cpu = Some(cores()?),
            "min-memory" => self.min.memory = Some(mib()?),
            "max-memory" => self.max.memory = Some(mib()?),
            "containers" => {
                let names: BTreeSet<_> =
                    value.split(',').map(|name| name.trim().to_owned()).collect();
                if let Some(name) = names.iter().find(|name| !is_dns_label(name)) {
                    return Err(format!("{name:?} is no name of a container"));
                }
                self.containers = Some(names);
            }
            _ => return Err("there is no such annotation".into()),
        }
        Ok(())
    }

    /// These, and where they say nothing, those of the workload.
    pub fn or(&self, workload: &Self) -> Self {
        let either = |own: &PerResource<Option<f64>>, other: &PerResource<Option<f64>>| {
            PerResource::build(|resource| own[resource].or(other[resource]))
        };
        Self {
            mode: self.mode.or(workload.mode),
            min: either(&self.min, &workload.min),
            max: either(&self.max, &workload.max),
            up_only: self.up_only.or(workload.up_only),
            controls: self.controls.or(workload.controls),
            restarts_allowed: self.restarts_allowed.or(workload.restarts_allowed),
            fallback: self.fallback.or(workload.fallback),
            startup: self.startup.or(workload.startup),
            containers: self.containers.clone().or_else(|| workload.containers.clone()),
            fault: self.fault.clone().or_else(|| workload.fault.clone()),
        }
    }

    pub fn has_bounds(&self) -> bool {
        let none = PerResource::default();
        (self.min, self.max) != (none, none)
    }

    /// The policy for the one pod: its bounds can be made narrower than the configured ones, never
    /// wider.
    pub fn narrow(&self, policy: &Policy) -> Result<Policy, String> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let min = |resource| self.min[resource].unwrap_or(0.0).max(policy.min[resource]);
        let max = |resource| self.max[resource].unwrap_or(f64::INFINITY).min(policy.max[resource]);
        for resource in Resource::ALL {
            let (min, max, name) = (min(resource), max(resource), resource.name());
            if min > max {
                let unit = if resource == Resource::Cpu { "cores" } else { "MiB" };
                return Err(format!(
                    "annotations {PREFIX}min-{name} and {PREFIX}max-{name} with the configured \
                        bounds leave nothing: \
                     at least {min} and at most {max} {unit}"
                ));
            }
        }
        let up_only = self.up_only.unwrap_or(policy.up_only);
        let restarts_allowed = self.restarts_allowed.unwrap_or(policy.restarts_allowed);
        Ok(Policy {
            min: PerResource::build(min),
            max: PerResource::build(max),
            up_only,
            controls: self.controls.unwrap_or(policy.controls),
            restarts_allowed,
            startup: self.startup.unwrap_or(policy.startup),
            ..policy.clone()
        })
    }
}

fn seconds(text: &str) -> Result<i64, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number.parse::<u16>().ok().map(|number| i64::from(number) * unit);
    seconds
        .filter(|seconds| *seconds <= LONGEST_STARTUP)
        .ok_or_else(|| format!("{text:?} is no time of up to an hour, such as 90s or 5m"))
}

fn amount(resource: Resource, text: &str, example: &str) -> Result<f64, String> {
    match quantity::amount(resource, text) {
        Some(amount) if amount > quantity::MOST[resource] => {
            Err(format!("{text:?} is more than any node has"))
        }
        Some(amount) if amount > 0.0 => Ok(amount),
        _ => Err(format!("{text:?} is no quantity of {example}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> PodOverrides {
        let annotations = pairs
            .iter()
            .map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()))
            .collect();
        PodOverrides::parse(Some(&annotations)).unwrap()
    }

    #[test]
    fn annotations_are_read_and_those_of_others_are_not() {
        let other = BTreeMap::from([("example.test/mode".to_owned(), "off".to_owned())]);
        assert_eq!((PodOverrides::parse(Some(&other)), PodOverrides::parse(None)), (None, None));
        let overrides = parse(&[
            ("mode", "recommend"),
            ("min-cpu", "250m"),
            ("max-memory", "2Gi"),
            ("scale", "up-only"),
            ("containers", "app, proxy"),
        ]);
        assert_eq!(
            (overrides.mode, overrides.up_only, &overrides.fault),
            (Some(Mode::Recommend), Some(true), &None)
        );
        assert_eq!(
            (overrides.min, overrides.max.memory),
            (PerResource::new(Some(0.25), None), Some(2048.0))
        );
        assert_eq!(overrides.containers.unwrap(), ["app", "proxy"].map(String::from).into());
    }

    #[test]
    fn what_is_not_understood_is_named_and_never_guessed() {
        for (name, value) in [
            ("mode", "Off"),
            ("mode", ""),
            ("scale", "down-only"),
            ("restarts", "yes"),
            ("fallback", "no"),
            ("min-cpu", "many"),
            ("max-cpu", "0"),
            ("min-memory", "-1Gi"),
            ("max-memory", "inf"),
            ("max-memory", "512"),
            ("min-memory", "512m"),
            ("containers", ""),
            ("containers", "app,,proxy"),
            ("startup", "soon"),
            ("startup", "-5s"),
            ("startup", "61m"),
            ("maxcpu", "1"),
        ] {
            let fault = parse(&[(name, value)]).narrow(&Policy::default()).unwrap_err();
            assert!(fault.contains(&format!("{PREFIX}{name}:")), "{name}={value}: {fault}");
        }
        let pod = parse(&[("mode", "live")]).or(&parse(&[("max-cpu", "lots")]));
        assert!(pod.narrow(&Policy::default()).is_err(), "a fault of the workload binds the pod");
    }

    #[test]
    fn the_pod_wins_over_its_workload_field_by_field() {
        let pod = parse(&[("mode", "live"), ("max-cpu", "2")]);
        let workload =
            parse(&[("mode", "off"), ("max-cpu", "1"), ("min-cpu", "500m"), ("scale", "up-only")]);
        let both = pod.or(&workload);
        assert_eq!(
            (both.mode, both.max.cpu, both.min.cpu, both.up_only),
            (Some(Mode::Live), Some(2.0), Some(0.5), Some(true))
        );
    }

    #[test]
    fn bounds_become_narrower_and_never_wider() {
        let policy = Policy::default();
        let narrowed = parse(&[("min-cpu", "1m"), ("max-cpu", "2"), ("max-memory", "1Ti")])
            .narrow(&policy)
            .unwrap();
        assert_eq!(
            (narrowed.min, narrowed.max),
            (policy.min, PerResource::new(2.0, policy.max.memory))
        );
        let fault = parse(&[("min-cpu", "12")]).narrow(&policy).unwrap_err();
        assert!(fault.contains("at least 12 and at most 8 cores"), "{fault}");
        assert!(parse(&[("min-memory", "2Gi"), ("max-memory", "1Gi")]).narrow(&policy).is_err());
    }
}
