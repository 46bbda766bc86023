//! Standard output: lines for people or JSON for programs.

use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use crate::table::Table;

/// Where a command writes what it has found.
pub struct Output {
    out: BufWriter<Stdout>,
    json: bool,
}

impl Output {
    /// Standard output.
    pub fn to_stdout(json: bool) -> Self {
        Output { out: BufWriter::new(io::stdout()), json }
    }

    /// Whether JSON is asked for.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A line for people. Control characters do not reach the terminal.
    pub fn line(&mut self, line: impl AsRef<str>) -> io::Result<()> {
        let shown = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
        writeln!(self.out, "{}", line.as_ref().chars().map(shown).collect::<String>())
    }

    /// A table for people.
    pub fn table(&mut self, table: &Table) -> io::Result<()> {
        table.lines().iter().try_for_each(|line| self.line(line))
    }

    /// A whole JSON document, over several lines.
    pub fn document(&mut self, document: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.out, document)?;
        writeln!(self.out)
    }

    /// One of several JSON documents, each in a line of its own.
    pub fn json_line(&mut self, document: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, document)?;
        writeln!(self.out)
    }

    /// Hands over what is still buffered.
    pub fn flush(&mut self) -> Result<(), crate::failure::Failure> {
        Ok(self.out.flush()?)
    }
}
