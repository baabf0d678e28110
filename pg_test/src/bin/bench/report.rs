//! Tables and targets.

use std::fmt;

use crate::measure::Nanoseconds;

/// A ratio that must not be larger than a bound.
pub struct Target {
    what: String,
    ratio: f64,
    bound: f64,
}

impl Target {
    /// `what` names both sides of the ratio.
    pub fn new(what: impl Into<String>, ratio: f64, bound: f64) -> Self {
        Self { what: what.into(), ratio, bound }
    }

    /// Whether the ratio is within its bound.
    pub fn is_reached(&self) -> bool {
        self.ratio <= self.bound
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_reached() { "reached" } else { "MISSED " };
        write!(f, "{verdict}  {:.2} (at most {:.2})  {}", self.ratio, self.bound, self.what)
    }
}

/// Lines of equally many cells; the first column is text, the others are figures.
pub struct Table {
    title: String,
    lines: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(title: impl Into<String>, headings: &[&str]) -> Self {
        Self { title: title.into(), lines: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a line.
    pub fn line<const N: usize>(&mut self, cells: [String; N]) {
        self.lines.push(cells.into());
    }

    /// Prints it.
    pub fn print(&self) {
        println!("\n{}", self.title);
        let width = |column: usize| self.lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.lines[0].len()).map(width).collect();
        for line in &self.lines {
            let mut text = format!("  {:<1$}", line[0], widths[0]);
            for (cell, width) in line.iter().zip(&widths).skip(1) {
                text.push_str(&format!("  {cell:>width$}"));
            }
            println!("{}", text.trim_end());
        }
    }
}

/// A time in the unit that suits it.
pub fn duration(time: Nanoseconds) -> String {
    match time.abs() {
        ..1e3 => format!("{time:.1} ns"),
        ..1e6 => format!("{:.1} µs", time / 1e3),
        _ => format!("{:.1} ms", time / 1e6),
    }
}

/// A ratio.
pub fn ratio(value: f64) -> String {
    format!("{value:.2} ×")
}
