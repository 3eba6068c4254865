//! Tables: columns two blanks apart, no rules, cells wrapped to fit the terminal.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table as Grid, presets};

/// Rows under headers.
#[derive(Debug)]
pub(crate) struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
    wraps: Vec<usize>,
}

impl Table {
    /// A table with these headers. One that starts with `>` is right-aligned, for numbers; cells under one that
    /// starts with `~` are broken between words where the terminal is too narrow, others stay whole.
    pub(crate) fn new(headers: &[&str]) -> Self {
        let marked = |mark| {
            let columns = headers.iter().enumerate().filter(move |(_, header)| header.starts_with(mark));
            columns.map(|(column, _)| column).collect()
        };
        Self {
            right: marked('>'),
            wraps: marked('~'),
            headers: headers.iter().map(|header| header.trim_start_matches(['>', '~']).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; empty cells are shown as `-`.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether it has rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, indented by two. A column in which every cell is empty is left out.
    pub(crate) fn lines(&self, width: u16) -> Vec<String> {
        let shown: Vec<usize> = (0..self.headers.len()).filter(|column| self.is_used(*column)).collect();
        let pick = |cells: &[String]| -> Vec<String> {
            shown.iter().map(|column| cells.get(*column).cloned().unwrap_or_default()).collect()
        };
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width.saturating_sub(1))
            .set_header(pick(&self.headers));
        for row in &self.rows {
            grid.add_row(
                pick(row).into_iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }),
            );
        }
        for (at, column) in shown.iter().enumerate() {
            let Some(grid_column) = grid.column_mut(at) else { continue };
            grid_column.set_padding((1, 1));
            if !self.wraps.contains(column) {
                grid_column.set_constraint(ColumnConstraint::ContentWidth);
            }
            if self.right.contains(column) {
                grid_column.set_cell_alignment(CellAlignment::Right);
            }
        }
        grid.lines().map(|line| format!(" {}", line.trim_end())).collect()
    }

    fn is_used(&self, column: usize) -> bool {
        self.rows.iter().any(|row| row.get(column).is_some_and(|cell| !cell.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["name", ">size", "unused", "~note"]);
        table.row(["flows".to_owned(), "8".to_owned(), String::new(), "a long remark ".repeat(8)]);
        table.row(["x".to_owned(), "1024".to_owned(), String::new(), String::new()]);
        table
    }

    #[test]
    fn cells_wrap_and_empty_columns_vanish() {
        let narrow = table().lines(60);
        assert!(narrow.iter().all(|line| line.chars().count() <= 60), "{narrow:#?}");
        assert!(narrow.len() > 3);
        assert!(!narrow[0].contains("unused"));
        let wide = table().lines(200);
        assert_eq!(wide.len(), 3);
        assert_eq!(wide[2], "  x      1024  -");
    }
}
