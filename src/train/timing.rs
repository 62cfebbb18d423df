//! How time passes in a replay, and how old what is seen of a container is.

use clap::{Args, ValueEnum};

use super::demand::STEP;

/// Where usage comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// Fresh at every decision, and resizes take no time: what `train` learns under
    Ideal,
    /// `metrics.k8s.io`, as metrics-server fills it
    MetricsApi,
    /// The same, and the kubelets' `/metrics/resource` for the second look
    Kubelet,
}

/// The arguments of `evaluate` that are about time.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Time")]
pub struct TimingArgs {
    /// Where usage comes from
    #[arg(long, value_enum, default_value_t = Source::MetricsApi)]
    pub usage: Source,
    /// From one cycle to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub interval: u32,
    /// From one look at containers near their limit to the next; 0 is none [default: 2 by kubelet,
    /// 10 by metrics-api, none by ideal]
    #[arg(long, value_name = "SECONDS")]
    pub second_look: Option<u32>,
    /// What a sample of metrics-server is measured over, and how long it stays the newest
    /// [default: 15, its own; 0 by ideal]
    #[arg(long, value_name = "SECONDS")]
    pub window: Option<u32>,
    /// How old a sample is when it can first be read [default: 1, 0 by ideal]
    #[arg(long, value_name = "SECONDS")]
    pub age: Option<u32>,
    /// Until a resize is in force [default: 1, 0 by ideal]
    #[arg(long, value_name = "SECONDS")]
    pub delay: Option<u32>,
    /// Pods live so long; then one of the template takes their place
    #[arg(long, value_name = "HOURS")]
    pub lives: Option<f64>,
    /// What a pod has taught is forgotten with it
    #[arg(long, requires = "lives")]
    pub forget: bool,
}

impl Default for TimingArgs {
    /// What is not said on the command line.
    fn default() -> Self {
        Self {
            usage: Source::MetricsApi,
            interval: STEP as u32,
            second_look: None,
            window: None,
            age: None,
            delay: None,
            lives: None,
            forget: false,
        }
    }
}

/// Seconds, all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// The smallest part of time.
    pub tick: i64,
    /// From one cycle to the next.
    pub interval: i64,
    /// What a sample of metrics-server is measured over, and how long it stays the newest.
    pub window: i64,
    /// How old a sample is when it can first be read.
    pub age: i64,
    /// From one second look to the next; None: there is none.
    pub second_look: Option<i64>,
    /// The second look asks the kubelets, not metrics-server.
    pub kubelet: bool,
    /// Until a resize is in force.
    pub delay: i64,
    /// How long a pod lives; None: as long as its series.
    pub life: Option<i64>,
    /// What a pod has taught is forgotten with it.
    pub forget: bool,
    /// Demand varies within a step of its series.
    pub bursts: bool,
    /// A step of the series is not interpolated to the next.
    pub hold: bool,
}

impl Timing {
    /// A decision after every step of the series, on what is fresh, in force at once.
    pub const IDEAL: Self = Self {
        tick: STEP as i64,
        interval: STEP as i64,
        window: 0,
        age: 0,
        second_look: None,
        kubelet: false,
        delay: 0,
        life: None,
        forget: false,
        bursts: false,
        hold: true,
    };
}

impl TimingArgs {
    pub fn timing(&self, hold: bool) -> Timing {
        let (ideal, kubelet) = (self.usage == Source::Ideal, self.usage == Source::Kubelet);
        let or = |given: Option<u32>, real: u32| {
            i64::from(given.unwrap_or(if ideal { 0 } else { real }))
        };
        let (interval, step) = (i64::from(self.interval), STEP as i64);
        let second_look = or(self.second_look, if kubelet { 2 } else { 10 });
        let timing = Timing {
            tick: 1,
            interval,
            window: or(self.window, 15),
            age: or(self.age, 1),
            second_look: (second_look > 0).then_some(second_look),
            kubelet,
            delay: or(self.delay, 1),
            life: self.lives.map(|hours| (hours * 3600.0) as i64),
            forget: self.forget,
            bursts: !ideal,
            hold,
        };
        // Nothing happens within a step: then the step may pass as a whole.
        let whole = [interval, timing.window, timing.age, timing.delay, second_look];
        let whole = !timing.bursts && whole.iter().all(|seconds| seconds % step == 0);
        Timing { tick: if whole { step } else { 1 }, hold: hold || whole, ..timing }
    }

    /// In words, for a caption.
    pub fn caption(&self) -> String {
        let Timing { interval, window, age, second_look, kubelet, delay, life, .. } =
            self.timing(false);
        let mut text = match self.usage {
            Source::Ideal => format!("a cycle every {interval} s, fresh usage"),
            _ => format!("a cycle every {interval} s, usage by metrics-server over {window} s"),
        };
        if age > 0 {
            text += &format!(", {age} s old when it can first be read");
        }
        if let Some(every) = second_look {
            let source = if kubelet { "by kubelet" } else { "by metrics-server" };
            text += &format!(", a second look every {every} s {source}");
        }
        text += &format!(", resizes in force after {delay} s");
        if let Some(life) = life {
            text += &format!(", lives of {} h", life as f64 / 3600.0);
        }
        if self.forget {
            text += " that teach nothing";
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: TimingArgs,
    }

    fn args(flags: &str) -> TimingArgs {
        Command::parse_from(["evaluate"].into_iter().chain(flags.split_whitespace())).args
    }

    #[test]
    fn what_is_not_said_is_as_it_was_measured() {
        let Timing { tick, interval, window, age, second_look, kubelet, delay, bursts, .. } =
            args("").timing(false);
        assert_eq!((tick, interval, window, age, delay), (1, 30, 15, 1, 1));
        assert_eq!((second_look, kubelet, bursts), (Some(10), false, true));
        let kubelet = args("--usage kubelet").timing(false);
        assert_eq!((kubelet.second_look, kubelet.kubelet), (Some(2), true));
        let none = args("--second-look 0 --age 0 --delay 0 --window 0").timing(true);
        assert_eq!((none.second_look, none.age, none.delay, none.window), (None, 0, 0, 0));
        assert!(none.hold && none.bursts);
    }

    #[test]
    fn ideal_is_what_the_trainer_has() {
        assert_eq!(args("--usage ideal").timing(false), Timing::IDEAL);
        let quick = args("--usage ideal --interval 10").timing(false);
        assert_eq!((quick.tick, quick.hold, quick.bursts), (1, false, false));
        assert_eq!(args("--usage ideal --interval 60").timing(false).tick, 30);
    }

    #[test]
    fn a_caption_tells_every_age() {
        assert_eq!(
            args("--usage kubelet --lives 6").caption(),
            "a cycle every 30 s, usage by metrics-server over 15 s, 1 s old when it can first be \
             read, a second look every 2 s by kubelet, resizes in force after 1 s, lives of 6 h"
        );
        assert_eq!(
            args("--usage ideal").caption(),
            "a cycle every 30 s, fresh usage, resizes in force after 0 s"
        );
    }
}
