//! What is asked of cAdvisor's and kube-state-metrics' series, in PromQL.

use std::collections::BTreeMap;

/// Seconds between two samples of what is asked for the past of a workload.
pub const STEP: i64 = 300;
/// The name of the label that tells the parts of an answer apart.
pub const FIGURE: &str = "figure";
/// Throttling in less than this share of the periods is not asked for.
const LEAST_THROTTLING: f64 = 0.01;
/// More namespaces than this are not named in a question: all are asked for.
const MOST_NAMED: usize = 50;

const IDENTITY: &str = "namespace, pod, container";
const CPU: &str = "container_cpu_usage_seconds_total";
const STARTED: &str = "container_start_time_seconds";
const MEMORY: &str = "container_memory_working_set_bytes";
const THROTTLED: &str = "container_cpu_cfs_throttled_periods_total";
const PERIODS: &str = "container_cpu_cfs_periods_total";
const QUOTA: &str = "container_spec_cpu_quota";
const PERIOD: &str = "container_spec_cpu_period";
const MEMORY_LIMIT: &str = "container_spec_memory_limit_bytes";
const REQUESTS: &str = "kube_pod_container_resource_requests";
const LIMITS: &str = "kube_pod_container_resource_limits";
const RESTARTS: &str = "kube_pod_container_status_restarts_total";
const LAST_END: &str = "kube_pod_container_status_last_terminated_reason";

/// Which series are meant.
#[derive(Debug, Clone, Default)]
pub struct Selection<'a> {
    /// Regular expressions; None: any.
    pub namespaces: Option<String>,
    pub pods: Option<String>,
    /// What every series must have.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

impl Selection<'_> {
    /// The series `metric` of real containers, not of the pause container or of whole pods.
    pub fn of(&self, metric: &str, more: &[(&str, &str)]) -> String {
        let mut matchers = vec![r#"container!="""#.to_owned(), r#"container!="POD""#.to_owned()];
        let patterns = [("namespace", &self.namespaces), ("pod", &self.pods)];
        for (label, pattern) in patterns {
            matchers.extend(pattern.iter().map(|of| format!("{label}=~{}", quoted(of))));
        }
        let labels = self.labels.into_iter().flatten();
        let labels = labels.map(|(name, value)| (name.as_str(), value.as_str()));
        let equal = labels.chain(more.iter().copied());
        matchers.extend(equal.map(|(name, value)| format!("{name}={}", quoted(value))));
        format!("{metric}{{{}}}", matchers.join(","))
    }
}

/// Matches any of these names, if they are few enough to be named.
pub fn any_of(namespaces: &[String]) -> Option<String> {
    (namespaces.len() <= MOST_NAMED).then(|| namespaces.join("|"))
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{text}\"")
}

/// Several expressions in one question, told apart by [`FIGURE`].
fn together(figures: &[(&str, String)]) -> String {
    let named = |(name, expression): &(&str, String)| {
        format!(r#"label_replace({expression}, "{FIGURE}", "{name}", "", "")"#)
    };
    figures.iter().map(named).collect::<Vec<_>>().join(" or ")
}

/// What a workload has used and been killed at, by container: peaks of all its pods, and what nine
/// (memory: 49) of ten (50) pods stayed below at each time. The rate is that of the last two
/// samples, however often they are taken; not of the first `startup` seconds after a start.
pub fn past(of: &Selection<'_>, startup: u64) -> String {
    let (cpu, memory) = (used_cpu(of, startup), of.of(MEMORY, &[]));
    let ended = of.of(LAST_END, &[("reason", "OOMKilled")]);
    let (restarts, limit) = (of.of(RESTARTS, &[]), of.of(LIMITS, &[("resource", "memory")]));
    let same = format!("on ({IDENTITY})");
    // A restart between two samples of which each is in another step is seen, too.
    let twice = 2 * STEP;
    together(&[
        ("cpu_peak", format!("max by (container) (max_over_time(({cpu})[{STEP}s:30s]))")),
        ("cpu", format!("quantile by (container) (0.9, {cpu})")),
        ("memory_peak", format!("max by (container) (max_over_time({memory}[{STEP}s]))")),
        ("memory", format!("quantile by (container) (0.98, {memory})")),
        (
            "kill",
            format!(
                "max by (container) ({limit} and {same} (increase({restarts}[{twice}s]) > 0) \
                    and {same} ({ended} > 0))"
            ),
        ),
    ])
}

/// Cores, as of the last two samples. A cAdvisor that does not tell of starts leaves them in.
fn used_cpu(of: &Selection<'_>, startup: u64) -> String {
    let (used, started) = (of.of(CPU, &[]), of.of(STARTED, &[]));
    match startup {
        0 => format!("irate({used}[5m])"),
        _ => format!(
            "irate({used}[5m]) unless on ({IDENTITY}) \
                (time() - max by ({IDENTITY}) ({started}) < {startup})"
        ),
    }
}

/// Cores and bytes of containers of one pod.
pub fn usage(of: &Selection<'_>) -> String {
    let (cpu, memory) = (of.of(CPU, &[]), of.of(MEMORY, &[]));
    together(&[
        ("cpu", format!("max by (container) (irate({cpu}[5m]))")),
        ("memory", format!("max by (container) ({memory})")),
    ])
}

/// The series of memory, which every container has.
pub fn memory(of: &Selection<'_>) -> String {
    of.of(MEMORY, &[])
}

/// Of all containers of the last `since` seconds: for how long they lived, the requests and limits
/// that were told last, restarts after kills for memory, and throttling.
pub fn facts(of: &Selection<'_>, since: i64) -> String {
    let of_each = |expression: String| format!("max by (pod, container) ({expression})");
    let last = |selector: String| of_each(format!("last_over_time({selector}[{since}s])"));
    let told = |metric: &str, resource: &str| last(of.of(metric, &[("resource", resource)]));
    let (quota, period) = (last(of.of(QUOTA, &[])), last(of.of(PERIOD, &[])));
    let by_cadvisor = last(of.of(MEMORY_LIMIT, &[]));
    let (restarts, ended) = (of.of(RESTARTS, &[]), of.of(LAST_END, &[("reason", "OOMKilled")]));
    let (throttled, periods) = (of.of(THROTTLED, &[]), of.of(PERIODS, &[]));
    let same = format!("on ({IDENTITY})");
    together(&[
        ("life", {
            let memory = memory(of);
            of_each(format!("{STEP} * count_over_time({memory}[{since}s:{STEP}s])"))
        }),
        ("cpu_limit", format!("{} or ({quota} > 0) / {period}", told(LIMITS, "cpu"))),
        ("memory_limit", format!("{} or {by_cadvisor} > 0", told(LIMITS, "memory"))),
        ("cpu_request", told(REQUESTS, "cpu")),
        ("memory_request", told(REQUESTS, "memory")),
        (
            "kills",
            format!(
                "{} or {}",
                of_each(format!(
                    "round(increase({restarts}[{since}s])) and {same} \
                        (last_over_time({ended}[{since}s]) > 0)"
                )),
                of_each(format!("0 * last_over_time({restarts}[{since}s])")),
            ),
        ),
        (
            "throttled",
            of_each(format!("increase({throttled}[{since}s]) / increase({periods}[{since}s])")),
        ),
    ])
}

/// The share of the kernel's periods of the last minutes in which containers were out of CPU time.
pub fn throttling(of: &Selection<'_>) -> String {
    let (throttled, periods) = (of.of(THROTTLED, &[]), of.of(PERIODS, &[]));
    format!(
        "max by ({IDENTITY}) (rate({throttled}[5m]) / rate({periods}[5m])) \
            >= {LEAST_THROTTLING}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_selected_is_named_and_nothing_can_break_out_of_its_quotes() {
        let labels = BTreeMap::from([("cluster".to_owned(), "a\"}\\".to_owned())]);
        let selection = Selection {
            namespaces: any_of(&["shop".to_owned(), "data".to_owned()]),
            pods: Some("web-[a-z]{5}".into()),
            labels: Some(&labels),
        };
        assert_eq!(
            selection.of("m", &[("reason", "x")]),
            "m{container!=\"\",container!=\"POD\",namespace=~\"shop|data\",\
             pod=~\"web-[a-z]{5}\",cluster=\"a\\\"}\\\\\",reason=\"x\"}"
        );
        assert_eq!(any_of(&vec![String::new(); MOST_NAMED + 1]), None);
        let all = Selection::default();
        assert_eq!(all.of("m", &[]), "m{container!=\"\",container!=\"POD\"}");
        let past = past(&all, 120);
        assert_eq!(past.matches("label_replace(").count(), 5);
        for query in [past, facts(&all, 86_400), usage(&all)] {
            assert_eq!(query.matches('(').count(), query.matches(')').count(), "{query}");
        }
    }
}
