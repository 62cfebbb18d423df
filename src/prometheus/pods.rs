//! Which pods of the past are of a workload: told by their names, which controllers make by rules.

/// The characters of hashes and suffixes in the names that controllers make.
const DRAWN: &str = "bcdfghjklmnpqrstvwxz2456789";
/// The same, and the digits of a CronJob's times and of indexes.
const DRAWN_CLASS: &str = "[b-df-hj-np-tv-xz0-9]";
const SUFFIX: usize = 5;

/// Matches the pods that the controller `owner` has made, given the name of one of them: with a
/// drawn part in its name, as of a Deployment, all that differ in it; any other pod for itself.
pub fn pattern(owner: &str, pod: &str) -> String {
    drawn_parts(owner, pod).unwrap_or_else(|| escaped(pod))
}

fn drawn_parts(owner: &str, pod: &str) -> Option<String> {
    let parts: Vec<&str> = pod.strip_prefix(owner)?.strip_prefix('-')?.split('-').collect();
    let is_drawn = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| DRAWN.contains(c) || c.is_ascii_digit())
    };
    let (last, others) = parts.split_last()?;
    if last.len() != SUFFIX || others.len() > 2 || !parts.iter().all(is_drawn) {
        return None;
    }
    let others = format!("{DRAWN_CLASS}+-").repeat(others.len());
    Some(format!("{}-{others}{DRAWN_CLASS}{{{SUFFIX}}}", escaped(owner)))
}

/// The name of the workload behind a pod, as far as its own name tells.
pub fn owner_of(pod: &str) -> &str {
    let without = |name: &'_ str, is_part: fn(&str) -> bool| {
        let (rest, part) = name.rsplit_once('-')?;
        (is_part(part) && !rest.is_empty()).then_some(rest.len())
    };
    let is_suffix = |part: &str| part.len() == SUFFIX && part.chars().all(|c| DRAWN.contains(c));
    let is_hash = |part: &str| {
        (6..=10).contains(&part.len())
            && part.chars().all(|c| DRAWN.contains(c) || c.is_ascii_digit())
    };
    let is_index = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    if let Some(end) = without(pod, is_suffix) {
        let name = &pod[..end];
        return without(name, is_hash).map_or(name, |end| &name[..end]);
    }
    without(pod, is_index).map_or(pod, |end| &pod[..end])
}

/// As a regular expression that matches just that.
pub fn escaped(name: &str) -> String {
    name.replace('.', "[.]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_one_controller_differ_in_what_was_drawn() {
        let drawn = "[b-df-hj-np-tv-xz0-9]";
        let matches = |owner, pod| pattern(owner, pod);
        assert_eq!(matches("web", "web-7d4b9c6f5-x2x9k"), format!("web-{drawn}+-{drawn}{{5}}"));
        assert_eq!(matches("a.b", "a.b-x2x9k"), format!("a[.]b-{drawn}{{5}}"));
        assert_eq!(matches("job", "job-28930000-x2x9k"), format!("job-{drawn}+-{drawn}{{5}}"));
        for (owner, pod) in [
            ("db", "db-0"),
            ("web", "web-blue-x2x9k"),
            ("web", "web"),
            ("other", "web-7d4b9c6f5-x2x9k"),
            ("web", "web-1-2-3-x2x9k"),
            ("web", "web--x2x9k"),
        ] {
            assert_eq!(matches(owner, pod), pod);
        }
        assert_eq!(matches("own", "a.pod"), "a[.]pod");
    }

    #[test]
    fn a_name_without_what_was_drawn_is_the_workload() {
        for (pod, owner) in [
            ("web-7d4b9c6f5-x2x9k", "web"),
            ("web-api-7d4b9c6f5-x2x9k", "web-api"),
            ("db-0", "db"),
            ("db-replica-12", "db-replica"),
            ("agent-x2x9k", "agent"),
            ("report-28930000-x2x9k", "report"),
            ("plain", "plain"),
            ("my-app-house", "my-app-house"),
            ("-x2x9k", "-x2x9k"),
        ] {
            assert_eq!(owner_of(pod), owner, "{pod}");
        }
    }
}
