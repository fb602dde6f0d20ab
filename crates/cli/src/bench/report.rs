//! Tables of figures, for people and as JSON.

use serde_json::{Map, Value};

use crate::output::Output;

/// One run's figures.
#[derive(Debug, Default)]
pub(crate) struct Report {
    columns: Vec<String>,
    rows: Vec<(&'static str, &'static str, Vec<f64>)>,
}

impl Report {
    /// Makes a report with these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self {
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row: its name in JSON, its words, a figure for each column.
    pub(crate) fn row(&mut self, name: &'static str, words: &'static str, values: &[f64]) {
        self.rows.push((name, words, values.to_vec()));
    }

    /// Prints it.
    pub(crate) fn print(&self, output: Output) {
        let mut value = Map::new();
        for (at, column) in self.columns.iter().enumerate() {
            let figures = self.rows.iter().filter_map(|(name, _, values)| {
                values
                    .get(at)
                    .filter(|value| value.is_finite())
                    .map(|value| ((*name).to_owned(), Value::from(*value)))
            });
            value.insert(column.clone(), Value::Object(figures.collect()));
        }
        output.print(&Value::Object(value), || self.text());
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        let header: String = self
            .columns
            .iter()
            .map(|column| format!("{column:>14}"))
            .collect();
        lines.push(format!("{:<44}{header}", ""));
        for (_, words, values) in &self.rows {
            let cells: String = values
                .iter()
                .map(|value| {
                    if value.is_finite() {
                        format!("{:>14}", figure(*value))
                    } else {
                        format!("{:>14}", "-")
                    }
                })
                .collect();
            lines.push(format!("{words:<44}{cells}"));
        }
        lines.join("\n")
    }
}

fn figure(value: f64) -> String {
    if value >= 1_000.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}
