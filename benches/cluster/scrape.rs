//! What the service's `/metrics` say.

use std::collections::BTreeMap;

/// Values by series, as they are written.
pub struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    pub fn read(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let series = series.strip_prefix("dqn_scaler_")?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// The sum of a metric over all its labels.
    pub fn sum(&self, metric: &str) -> f64 {
        self.of(metric).map(|(_, value)| value).sum()
    }

    /// The sums of a metric by a label.
    pub fn by(&self, metric: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (series, value) in self.of(metric) {
            *sums.entry(of_label(series, label).unwrap_or_default().to_owned()).or_default() +=
                value;
        }
        sums
    }

    /// A histogram, of those with a label of that value: bounds, and how many were not above them.
    pub fn buckets(&self, metric: &str, of: Option<(&str, &str)>) -> Vec<(f64, f64)> {
        let is_meant =
            |series: &str| of.is_none_or(|(label, value)| of_label(series, label) == Some(value));
        let buckets = self.of(metric).filter(|(series, _)| is_meant(series));
        let mut buckets: Vec<(f64, f64)> = buckets
            .filter_map(|(series, count)| {
                let bound = of_label(series, "le")?;
                Some((bound.parse().unwrap_or(f64::INFINITY), count))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }

    fn of(&self, metric: &str) -> impl Iterator<Item = (&str, f64)> {
        let of = move |series: &str| series.split('{').next() == Some(metric);
        self.0.iter().filter(move |(series, _)| of(series)).map(|(name, value)| (&**name, *value))
    }
}

fn of_label<'a>(series: &'a str, label: &str) -> Option<&'a str> {
    let (_, labels) = series.split_once('{')?;
    let mut pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == label).map(|(_, value)| value.trim_matches('"'))
}
