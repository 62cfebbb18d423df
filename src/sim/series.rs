//! Recorded demand: a CSV file with the columns `timestamp_s,cpu_cores,memory_mib`.

use std::path::{Path, PathBuf};

use super::physics::Resources;
use crate::files;

/// The flat memory of a recording that has none, in MiB.
pub const FLAT_MEMORY: f64 = 700.0;

const LONGEST_RECORDING: u64 = 256 << 20;

/// Why recorded workloads could not be read. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}: {problem}")]
    Line { path: PathBuf, line: u64, problem: String },
    #[error("{path}: {problem}")]
    File { path: PathBuf, problem: String },
    #[error("{path} holds no .csv files")]
    Empty { path: PathBuf },
}

/// A recorded demand. Beyond its end it begins anew.
#[derive(Debug, Clone)]
pub struct Series {
    /// Seconds from the first sample, strictly increasing.
    times: Vec<f64>,
    values: Vec<Resources>,
    has_memory: bool,
    /// Of one loop: the last sample is followed by the first after a usual gap.
    period: f64,
}

impl Series {
    pub fn load(path: &Path) -> Result<Self, WorkloadError> {
        let read = |source| WorkloadError::Read { path: path.to_owned(), source };
        let file = files::open(path, LONGEST_RECORDING).map_err(read)?;
        parse(path, file)
    }

    /// A series of `values`, one each `step` seconds.
    pub fn regular(step: f64, values: Vec<Resources>) -> Option<Self> {
        let times = (0..values.len()).map(|index| index as f64 * step).collect();
        (values.len() >= 2 && step > 0.0).then(|| Self::new(times, values, true))
    }

    fn new(times: Vec<f64>, values: Vec<Resources>, has_memory: bool) -> Self {
        let last = times.last().copied().unwrap_or_default();
        let gap = last / (times.len().max(2) - 1) as f64;
        Self { times, values, has_memory, period: last + gap }
    }

    /// Seconds from the first to the last sample.
    pub fn duration(&self) -> f64 {
        self.times.last().copied().unwrap_or_default()
    }

    /// False where the file had no memory column and [`FLAT_MEMORY`] stands in.
    pub fn has_memory(&self) -> bool {
        self.has_memory
    }

    /// The samples as recorded: seconds from the first one, and the demand.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = (f64, Resources)> + '_ {
        self.times.iter().copied().zip(self.values.iter().copied())
    }

    /// The demand `t` seconds after the first sample, interpolated between samples.
    pub fn at(&self, t: f64) -> Resources {
        let (index, within) = self.locate(t);
        let (from, to) = (self.values[index], self.values[(index + 1) % self.values.len()]);
        let next = self.times.get(index + 1).copied().unwrap_or(self.period);
        let share = (within - self.times[index]) / (next - self.times[index]);
        let blend = |a: f64, b: f64| a + (b - a) * share;
        Resources { cpu: blend(from.cpu, to.cpu), memory: blend(from.memory, to.memory) }
    }

    /// The demand `t` seconds after the first sample, each sample held until the next.
    pub fn held_at(&self, t: f64) -> Resources {
        self.values[self.locate(t).0]
    }

    /// The last sample at or before `t`, and `t` within the loop.
    fn locate(&self, t: f64) -> (usize, f64) {
        let within = t.rem_euclid(self.period);
        let index = self.times.partition_point(|time| *time <= within).max(1) - 1;
        (index, within)
    }
}

fn parse(path: &Path, input: impl std::io::Read) -> Result<Series, WorkloadError> {
    let at_file = |problem: String| WorkloadError::File { path: path.to_owned(), problem };
    let at_line =
        |line: u64, problem: String| WorkloadError::Line { path: path.to_owned(), line, problem };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
    let csv_error = |error: csv::Error| match error.position() {
        Some(position) => at_line(position.line(), error.to_string()),
        None => at_file(error.to_string()),
    };
    let header = reader.headers().map_err(csv_error)?.clone();
    let column = |name: &str| header.iter().position(|title| title == name);
    let needed = |name: &str| {
        column(name).ok_or_else(|| at_line(1, format!("the column {name} is missing")))
    };
    let (time, cpu, memory) = (needed("timestamp_s")?, needed("cpu_cores")?, column("memory_mib"));

    let (mut times, mut values) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(csv_error)?;
        let line = record.position().map_or(0, csv::Position::line);
        let number = |index: usize| {
            let text = record.get(index).unwrap_or_default();
            match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(value),
                _ => Err(at_line(line, format!("{} is not a number: {text:?}", &header[index]))),
            }
        };
        let amount = |index: usize| match number(index)? {
            value if value >= 0.0 => Ok(value),
            value => Err(at_line(line, format!("{} is negative: {value}", &header[index]))),
        };
        let at = number(time)?;
        if times.last().is_some_and(|last| at <= *last) {
            return Err(at_line(line, format!("timestamp_s does not increase: {at}")));
        }
        times.push(at);
        values
            .push(Resources { cpu: amount(cpu)?, memory: memory.map_or(Ok(FLAT_MEMORY), amount)? });
    }
    if times.len() < 2 {
        return Err(at_file(format!("{} samples are too few, at least 2 are needed", times.len())));
    }
    let first = times[0];
    times.iter_mut().for_each(|at| *at -= first);
    Ok(Series::new(times, values, memory.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Series, String> {
        parse(Path::new("x.csv"), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn it_interpolates_holds_and_loops() {
        let series =
            read("timestamp_s,cpu_cores,memory_mib\n100,1,10\n160,2,30\n220,1,20\n").unwrap();
        assert_eq!(series.duration(), 120.0);
        assert_eq!(series.at(30.0), Resources { cpu: 1.5, memory: 20.0 });
        assert_eq!(series.held_at(59.0), Resources { cpu: 1.0, memory: 10.0 });
        assert_eq!(series.at(150.0), Resources { cpu: 1.0, memory: 15.0 });
        assert_eq!(series.at(180.0 + 30.0), series.at(30.0));
    }

    #[test]
    fn a_recording_of_cpu_alone_has_flat_memory() {
        let series = read("timestamp_s,cpu_cores\n0,1\n60,2\n").unwrap();
        assert!(!series.has_memory());
        assert_eq!(series.at(30.0).memory, FLAT_MEMORY);
    }

    #[test]
    fn errors_name_file_line_and_column() {
        for (text, error) in [
            ("time,cpu_cores\n0,1\n", "x.csv:1: the column timestamp_s is missing"),
            ("timestamp_s,cpu_cores\n0,1\n60,\n", "x.csv:3: cpu_cores is not a number: \"\""),
            ("timestamp_s,cpu_cores\n0,1\n60,-1\n", "x.csv:3: cpu_cores is negative: -1"),
            ("timestamp_s,cpu_cores\n0,1\n0,2\n", "x.csv:3: timestamp_s does not increase: 0"),
            ("timestamp_s,cpu_cores\n0,1\n60,NaN\n", "x.csv:3: cpu_cores is not a number: \"NaN\""),
            ("timestamp_s,cpu_cores\n0,1\n", "x.csv: 1 samples are too few, at least 2 are needed"),
        ] {
            assert_eq!(read(text).unwrap_err(), error);
        }
        assert!(read("timestamp_s,cpu_cores\n0,1\n60\n").unwrap_err().starts_with("x.csv:3: "));
    }
}
