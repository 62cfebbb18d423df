//! The course of a training: every column of the CSV that `train --curves` writes, over its first
//! one.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use plotters::style::Color;
use serde::Serialize;

use super::chart::{self, Line};
use crate::train::policies::Kind;

#[derive(Debug, Serialize)]
pub struct Curve {
    name: String,
    about: &'static str,
    last: String,
    chart: String,
}

pub fn read(path: &Path) -> anyhow::Result<Vec<Curve>> {
    let of_file = || format!("cannot read the curves of {}", path.display());
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).with_context(of_file)?;
    let names = reader.headers().with_context(of_file)?.clone();
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    for record in reader.records() {
        let record = record.with_context(of_file)?;
        for (column, text) in columns.iter_mut().zip(&record) {
            match text.parse::<f64>() {
                Ok(value) if value.is_finite() => column.push(value),
                _ => bail!("{}: {text:?} is not a number", of_file()),
            }
        }
    }
    ensure!(
        columns.first().is_some_and(|rounds| !rounds.is_empty()),
        "{}: it has no lines",
        of_file()
    );
    let curve = |(name, values): (&str, &Vec<f64>)| {
        let points = columns[0].iter().copied().zip(values.iter().copied()).collect();
        let line =
            Line { colour: chart::colour(Kind::Dqn).to_rgba(), width: 2, points, filled: false };
        Ok(Curve {
            name: name.to_owned(),
            about: about(name),
            last: values.last().map(|value| short(*value)).unwrap_or_default(),
            chart: chart::lines((360, 220), &[line], &[], "rounds", "")?,
        })
    };
    names.iter().zip(&columns).skip(1).map(curve).collect()
}

fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.01 { format!("{value:.2e}") } else { format!("{value:.4}") }
}

/// What a column that `train` writes means.
fn about(name: &str) -> &'static str {
    match name {
        "learning_rate" => "how far one gradient step moves the weights",
        "loss" => {
            "how far the Q values are from what was lived through, Huber loss, mean of the \
                round's gradient_steps"
        }
        "loss_prediction" => "the same of the next step's usage as a share of the limit",
        "cost" => {
            "COST on the series that were trained on, the figure by which the model was chosen"
        }
        "unserved" => "share of the CPU demand not served on them, 0 to 1",
        "ooms" => "OOM kills per pod and day on them",
        "resizes" => "resizes per pod and day on them",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_column_becomes_a_curve_and_what_is_no_number_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.csv");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            super::read(&path)
        };
        let curves = read("round,cost,<new>\n20,1.5,1\n40,1.25,0.00002\n").unwrap();
        assert_eq!(
            curves.iter().map(|curve| curve.name.as_str()).collect::<Vec<_>>(),
            ["cost", "<new>"]
        );
        assert_eq!(
            (curves[0].last.as_str(), curves[1].last.as_str(), curves[1].about),
            ("1.2500", "2.00e-5", "")
        );
        for (text, error) in [
            ("round,cost\n20,NaN\n", "\"NaN\" is not a number"),
            ("round,cost\n", "it has no lines"),
        ] {
            let told = read(text).unwrap_err().to_string();
            assert!(told.contains(error) && told.contains("curves.csv"), "{told}");
        }
        assert!(super::read(&folder.path().join("none.csv")).is_err());
    }
}
