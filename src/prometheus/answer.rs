//! What Prometheus answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Samples of a series: seconds since the epoch and the value, in the order of time.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Series {
    #[serde(rename = "metric")]
    pub labels: BTreeMap<String, String>,
    /// Of an instant: one.
    #[serde(default, alias = "value", deserialize_with = "samples")]
    pub values: Vec<(i64, f64)>,
}

impl Series {
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The only value of an instant.
    pub fn value(&self) -> Option<f64> {
        self.values.first().map(|(_, value)| *value)
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    status: String,
    data: Option<T>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

/// The series of an answer, or what is wrong.
pub fn series(body: &[u8]) -> Result<Vec<Series>, String> {
    Ok(parse::<Data>(body)?.result)
}

/// The values of a label.
pub fn names(body: &[u8]) -> Result<Vec<String>, String> {
    parse(body)
}

fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, String> {
    let answer: Answer<T> = serde_json::from_slice(body)
        .map_err(|error| format!("the answer is none of Prometheus: {error}"))?;
    match answer.data {
        Some(data) if answer.status == "success" => Ok(data),
        _ => Err(answer.error),
    }
}

/// What an error says of itself, if it is one of Prometheus.
pub fn error(body: &[u8]) -> Option<String> {
    let answer: Answer<serde_json::Value> = serde_json::from_slice(body).ok()?;
    Some(answer.error).filter(|error| !error.is_empty())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Samples {
    One((f64, String)),
    Many(Vec<(f64, String)>),
}

/// What is no number, or infinite, is left out.
fn samples<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(i64, f64)>, D::Error> {
    let samples = match Samples::deserialize(deserializer)? {
        Samples::One(sample) => vec![sample],
        Samples::Many(samples) => samples,
    };
    let number = |(at, value): (f64, String)| Some((at as i64, value.parse::<f64>().ok()?));
    let numbers = samples.into_iter().filter_map(number);
    Ok(numbers.filter(|(_, value)| value.is_finite()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_instants_are_read_and_what_is_no_number_is_left_out() {
        let range = br#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":
            {"container":"app"},"values":[[10,"1.5"],[20.5,"NaN"],[30,"+Inf"],[40,"2e1"]]}]}}"#;
        let read = series(range).unwrap();
        assert_eq!(read[0].values, [(10, 1.5), (40, 20.0)]);
        assert_eq!((read[0].label("container"), read[0].label("pod")), ("app", ""));
        let instant = br#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},
            "value":[1764000000.123,"7"]}]},"warnings":["w"]}"#;
        assert_eq!(series(instant).unwrap()[0].value(), Some(7.0));
        assert_eq!(names(br#"{"status":"success","data":["a","b"]}"#).unwrap(), ["a", "b"]);
    }

    #[test]
    fn what_went_wrong_is_told() {
        let failed = br#"{"status":"error","errorType":"bad_data","error":"too many samples"}"#;
        assert_eq!(series(failed).unwrap_err(), "too many samples");
        assert_eq!(error(failed).as_deref(), Some("too many samples"));
        for body in ["<html>", "{}", "[]", "{\"status\":\"success\",\"data\":{\"result\":3}}"] {
            assert!(series(body.as_bytes()).is_err(), "{body}");
        }
        assert_eq!(error(b"<html>"), None);
    }
}
